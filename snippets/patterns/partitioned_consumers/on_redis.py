# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Partitioned consumers on Redis Streams: a key's tasks stay in order."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any
from zlib import crc32

from redis.asyncio import Redis
from redis.asyncio.lock import Lock

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CHANNEL = "videos"
LEASE = 2.0  # seconds until a silent worker's partition is free; usual: 30
PAUSE = 0.2  # seconds until a worker asks again for a partition
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(partitions: int = 2) -> None:
    async with Redis.from_url(URL) as redis:
        await redis.set(f"{CHANNEL}:partitions", partitions)


async def count_partitions(redis: Redis) -> int:
    found = await redis.get(f"{CHANNEL}:partitions")
    if found is None:
        raise LookupError("no partitions: call declare() first")
    return int(found)


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    # No retries: a request that timed out may have added the tasks already.
    async with Redis.from_url(URL, retry=None) as redis:
        partitions = await count_partitions(redis)
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for key, task in tasks:
            # Not hash(): it gives each process another number for one key.
            number = crc32(key.encode()) % partitions
            requests.xadd(f"{CHANNEL}:{number}", {"task": task})
        # Wait for fsync, but less than the client waits for the server, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the tasks are not on the server's disk")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    async with Redis.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes
        socket_timeout=None,
        client_name=worker,
    ) as redis:

        async def serve(stream: str) -> None:
            while True:
                if not await oldest(redis, stream, block=1_000):
                    continue  # no consumer group: the lock deals out the work
                lock = redis.lock(f"{stream}:lock", timeout=LEASE)
                if not await lock.acquire(blocking=False):
                    await asyncio.sleep(PAUSE)
                    continue
                renewal = asyncio.create_task(renew(lock))
                try:
                    # Now that nobody else can take it, what is there?
                    for number, fields in await oldest(redis, stream):
                        await handle(fields.get("task", str(fields)))
                        await redis.xdel(stream, number)
                        if next(done) == limit:
                            return
                finally:
                    renewal.cancel()
                    await lock.release()  # raises if the lease has ended

        streams = range(await count_partitions(redis))
        serving = [
            asyncio.create_task(serve(f"{CHANNEL}:{n}")) for n in streams
        ]
        try:  # side by side: a task that hangs holds up its stream only
            await next(asyncio.as_completed(serving))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def oldest(redis: Redis, stream: str, block: int | None = None) -> Any:
    found: Any = await redis.xread({stream: "0"}, count=1, block=block)
    return found[0][1] if found else []


async def renew(lock: Lock) -> None:
    """Show that this worker lives, however long a task takes."""
    while True:
        await asyncio.sleep(LEASE / 4)
        await lock.reacquire()


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    asyncio.run(main())
