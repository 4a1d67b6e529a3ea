# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Message expiration on Redis Streams: the worker skips what is too late."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, GROUP = "push", "workers"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def submit(tasks: Sequence[str], seconds: float) -> None:
    # No retries: a request that timed out may have added the tasks already.
    async with Redis.from_url(URL, retry=None) as redis:
        # A key can expire, an entry of a stream cannot. No transaction:
        # inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for task in tasks:
            requests.xadd(QUEUE, {"task": task, "ttl": seconds})
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the tasks are not on the server's disk")


async def too_late(redis: Redis, number: str, fields: Any) -> bool:
    # Both by the server's clock: an entry's id begins with its time in ms.
    seconds, microseconds = await redis.time()
    age = seconds + microseconds / 1e6 - int(number.split("-")[0]) / 1000
    try:
        return bool(age > float(fields["ttl"]))
    except (KeyError, ValueError):
        return False  # no time, or none that we can read: rather deliver it


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    async with Redis.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes
        socket_timeout=None,
    ) as redis:
        start, done = "0-0", 0
        while done != limit:
            start, held, _ = await redis.xautoclaim(
                QUEUE, GROUP, worker, LEASE, start, 1
            )
            held = held or await take_new(redis, worker)
            for number, fields in held:
                renewal = asyncio.create_task(renew(redis, worker, number))
                try:
                    if not await too_late(redis, number, fields):
                        await handle(fields.get("task", str(fields)))
                        done += 1
                    await acknowledge(redis, number)
                finally:
                    renewal.cancel()


async def acknowledge(redis: Redis, number: str) -> None:
    both = redis.pipeline(transaction=True)
    both.xack(QUEUE, GROUP, number)
    both.xdel(QUEUE, number)  # without it the stream grows for ever
    await both.execute()


async def take_new(redis: Redis, worker: str) -> list[Any]:
    streams: Any = await redis.xreadgroup(
        GROUP, worker, {QUEUE: ">"}, 1, block=1_000
    )
    return [entry for _, entries in streams for entry in entries]


async def renew(redis: Redis, worker: str, number: str) -> None:
    """Show that this worker lives, however long a task takes."""
    while True:
        await asyncio.sleep(LEASE / 1000 / 4)
        # This resets the idle time; JUSTID does not count a delivery.
        await redis.xclaim(QUEUE, GROUP, worker, 0, [number], justid=True)


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    await submit(["push: cat.mp4 is live"], seconds=60)
    await submit(["push: dog.mp4 starts now"], seconds=1)
    print("no worker for two seconds")
    await asyncio.sleep(2)
    await submit(["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
