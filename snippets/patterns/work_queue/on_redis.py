# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Work queue on Redis Streams: each task goes to one worker, crash or no."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from redis_client import Worker, add, connect, create_group, run

QUEUE, GROUP = "transcode", "workers"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, tasks: Sequence[str]) -> None:
    await add(redis, [(QUEUE, {"task": task}) for task in tasks])


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect() as redis:
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        done = 0
        while limit is None or done < limit:
            count = min(prefetch, limit - done) if limit else prefetch
            held = await queue.take(count)
            async with queue.renewed(held):
                while held:
                    number, fields = held[0]
                    if delivery := await queue.delivery(number):
                        await handle(fields.get("task", str(fields)), delivery)
                        await queue.settle(number)
                        done += 1
                    del held[0]


async def main() -> None:
    async with connect() as redis:
        await declare(redis)
        await submit(redis, TASKS)
        print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    run(main)
