"""Redis in asyncio: redis-py, with a clock on each wait and no blind retry.

Whatever happens to a connection, its user gets an error that says why. The
next command opens a new connection.
"""

import asyncio
import os
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.lock import Lock
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswerError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
SECONDS = 15.0  # for an answer: longer than a server may stand still
BLOCK = 1_000  # ms that the server waits for an entry; far less than SECONDS
FSYNC = 10_000  # ms that it waits for its disk; less than SECONDS, too

LOST = LostError, NoAnswerError  # a connection, or an answer on it

Entry = tuple[str, dict[str, str]]


@asynccontextmanager
async def connect() -> AsyncIterator[Redis]:
    """Open what a service keeps."""
    pool = ConnectionPool.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes, there and back
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        # XADD again could add twice; XREADGROUP again would skip entries.
        retry=None,
    )
    if pool.connection_kwargs.get("protocol") == 3:
        # It is the default. Asked for, it gives answers of another shape.
        del pool.connection_kwargs["protocol"]
    async with Redis.from_pool(pool) as redis:
        yield redis


async def create_group(
    redis: Redis, stream: str, group: str, start: str = "0"
) -> None:
    """Create a group, and its stream, unless it is there."""
    try:
        await redis.xgroup_create(stream, group, start, mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


async def add(
    redis: Redis,
    entries: Sequence[tuple[str, Mapping[Any, Any]]],
    keep: int | None = None,
) -> None:
    """Add entries to their streams; raise unless they are on the disk."""
    # This is no transaction: inside one, WAITAOF would not wait.
    requests = redis.pipeline(transaction=False)
    for stream, fields in entries:
        requests.xadd(stream, dict(fields), maxlen=keep)
    requests.waitaof(1, 0, timeout=FSYNC)
    *_, (fsynced, _) = await requests.execute()
    end_if_cancelled()
    if not fsynced:
        raise TimeoutError("the entries are not on the server's disk")


@dataclass
class Worker:
    """One worker of a group: it takes entries, under a lease of `lease` ms."""

    redis: Redis
    stream: str
    group: str
    name: str
    lease: int
    start: str = "0-0"

    async def take(self, count: int = 1, block: int = BLOCK) -> list[Entry]:
        """Take what a dead worker has left, else what is new, else nothing."""
        end_if_cancelled()
        # Redis redelivers nothing by itself: a live worker must claim. One
        # call looks at a few entries, so the next one goes on behind them.
        self.start, held, _ = await self.redis.xautoclaim(
            self.stream, self.group, self.name, self.lease, self.start, count
        )
        return held or await read(
            self.redis, self.stream, self.group, self.name, ">", count, block
        )

    async def hand_back(self, number: str) -> None:
        """Let the next call of take() have it, as if the lease were over."""
        await self._claim(number, idle=self.lease)

    async def _claim(self, number: str, idle: int) -> None:
        place = self.stream, self.group, self.name
        # JUSTID: it counts no delivery.
        await self.redis.xclaim(*place, 0, [number], idle, justid=True)

    async def delivery(self, number: str) -> int:
        """Count the deliveries; 0: the lease ended, another has the entry."""
        mine = await self.redis.xpending_range(
            self.stream, self.group, number, number, 1, self.name
        )
        return int(mine[0]["times_delivered"]) if mine else 0

    def settling(self, number: str) -> Pipeline:
        """Begin a transaction that takes the entry away, and maybe more."""
        requests = self.redis.pipeline(transaction=True)
        requests.xack(self.stream, self.group, number)
        requests.xdel(self.stream, number)  # Else the stream grows for ever.
        return requests

    async def settle(self, number: str) -> None:
        """Acknowledge and delete, or neither."""
        await self.settling(number).execute()

    @asynccontextmanager
    async def renewed(self, held: list[Entry]) -> AsyncIterator[None]:
        """Show that this worker lives, however long an entry takes."""
        renewal = asyncio.create_task(self._renew(held))
        try:
            yield
        finally:
            renewal.cancel()

    async def _renew(self, held: list[Entry]) -> None:
        while True:
            await asyncio.sleep(self.lease / 1000 / 4)
            end_if_cancelled()
            for number, _ in held[:]:
                with suppress(*LOST):  # It may be back soon.
                    if await self.delivery(number):  # Nobody else has it.
                        await self._claim(number, idle=0)


async def read(
    redis: Redis,
    stream: str,
    group: str,
    name: str,
    after: str = ">",
    count: int = 1,
    block: int = BLOCK,
) -> list[Entry]:
    """Read what is new (">"), or what this reader has not acknowledged."""
    end_if_cancelled()
    streams: Any = await redis.xreadgroup(
        group, name, {stream: after}, count, block
    )
    return [entry for _, entries in streams for entry in entries]


async def subscribed(
    redis: Redis, stream: str, group: str, limit: int | None = None
) -> AsyncIterator[Entry]:
    """Yield each entry to the one reader of the group, who acknowledges it.

    First come those that it got and never acknowledged, then the new ones.
    """
    after, done = "0", 0
    while limit is None or done < limit:
        entries = await read(redis, stream, group, group, after)
        for number, fields in entries:
            if fields:
                yield number, fields
                done += 1
            else:  # it is older than what the stream keeps
                await redis.xack(stream, group, number)
        if not entries:
            after = ">"


@asynccontextmanager
async def locked(
    redis: Redis, name: str, owner: str, seconds: float
) -> AsyncIterator[bool]:
    """Hold a lock and renew it, if nobody else has it; yield whether."""
    lock = redis.lock(name, timeout=seconds)
    token = f"{owner} {uuid4()}"
    if not await lock.acquire(blocking=False, token=token):
        yield False
        return
    renewing = asyncio.create_task(_renew_lock(lock, seconds))
    try:
        yield True
    finally:
        renewing.cancel()
        await lock.release()  # It raises if the lease has ended.


async def _renew_lock(lock: Lock, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / 4)
        end_if_cancelled()
        with suppress(*LOST):  # It may be back soon.
            await lock.reacquire()


async def look_behind(
    redis: Redis,
    stream: str,
    after: str = "0",
    count: int = 1,
    block: int | None = BLOCK,
) -> list[Entry]:
    """Read the first entries behind another one, without a group."""
    end_if_cancelled()
    streams: Any = await redis.xread({stream: after}, count, block)
    return [entry for _, entries in streams for entry in entries]


async def now(redis: Redis) -> float:
    """Return the time of the server in seconds, so that clocks may differ."""
    seconds, microseconds = await redis.time()
    return float(seconds) + float(microseconds) / 1e6


async def age(redis: Redis, number: str) -> float:
    """Return how long ago an entry was added: its id begins with the ms."""
    return await now(redis) - int(number.split("-")[0]) / 1e3


async def look(redis: Redis, stream: str) -> list[Entry]:
    """Return all that is in a stream, and leave it there."""
    found: Any = await redis.xrange(stream)
    return list(found)


def end_if_cancelled() -> None:
    # Python 3.11's wait_for, in which redis-py sends, may swallow it.
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a demonstration, or end with one line if there is no server."""

    async def demonstration() -> None:
        try:
            async with connect() as redis:
                await redis.ping()
        except LOST as error:
            place = URL.rpartition("@")[2]
            raise SystemExit(
                f"no connection to Redis at {place} ({error}): "
                "docker compose up --wait redis starts it, "
                "or make brokers ONLY=redis"
            ) from error
        await main()

    asyncio.run(demonstration())
