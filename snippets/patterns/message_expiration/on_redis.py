# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Message expiration on Redis Streams: the worker skips what is too late."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from redis_client import Worker, add, age, connect, create_group, run

QUEUE, GROUP = "push", "workers"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000

Handler = Callable[[str], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, tasks: Sequence[str], seconds: float) -> None:
    # A key can expire, an entry of a stream cannot.
    messages = [{"task": task, "ttl": seconds} for task in tasks]
    await add(redis, [(QUEUE, fields) for fields in messages])


async def too_late(redis: Redis, number: str, fields: dict[str, str]) -> bool:
    try:
        return await age(redis, number) > float(fields["ttl"])
    except (KeyError, ValueError):
        return False  # no time, or none that we can read: rather deliver it


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = 0
    async with connect() as redis:
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        while limit is None or done < limit:
            held = await queue.take()
            async with queue.renewed(held):
                for number, fields in held:
                    if not await too_late(redis, number, fields):
                        await handle(fields.get("task", str(fields)))
                        done += 1
                    await queue.settle(number)


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    async with connect() as redis:
        await declare(redis)
        await submit(redis, ["push: cat.mp4 is live"], seconds=60)
        await submit(redis, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(redis, ["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
