# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Work queue on the minibroker: each task survives its worker's crash."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # lives in this process, and dies with it
QUEUE = "transcode"
Handler = Callable[[str, int | None], Awaitable[None]]


async def declare() -> None:
    BROKER.declare(QUEUE)


async def submit(tasks: Sequence[str]) -> None:
    for task in tasks:
        # Confirmed means: the queue holds the task, in memory only.
        if QUEUE not in BROKER.publish(QUEUE, task):
            raise LookupError(f"no queue for {task!r}: call declare() first")


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    with BROKER.consume(QUEUE, worker, prefetch) as consumer:
        async for delivery in consumer:
            await handle(delivery.message.body, delivery.number)
            delivery.ack()  # after the work: a crash before it loses nothing
            done += 1
            if done == limit:
                return


async def main() -> None:
    tasks = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]
    await declare()
    await submit(tasks)
    print(f"confirmed {len(tasks)} tasks")

    async def crash(task: str, number: int | None) -> None:
        raise RuntimeError(f"crashed on delivery {number} of {task}")

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    seen: dict[str, int | None] = {}

    async def transcode(task: str, number: int | None) -> None:
        seen[task] = number

    await asyncio.gather(
        work("A", transcode, limit=2), work("B", transcode, limit=2)
    )
    for task, number in sorted(seen.items()):
        print(f"{task}: delivery {number or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
