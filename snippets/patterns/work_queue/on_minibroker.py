# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Work queue on the minibroker: each task survives its worker's crash."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
QUEUE = "transcode"
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]
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
            delivery.ack()  # A crash before it loses nothing.
            done += 1
            if done == limit:
                return


async def main() -> None:
    await declare()
    await submit(TASKS)
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
    asyncio.run(main())
