# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Message expiration on the minibroker: what is too late never arrives."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
QUEUE = "push"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    BROKER.declare(QUEUE)


async def submit(tasks: Sequence[str], seconds: float) -> None:
    for task in tasks:
        if QUEUE not in BROKER.publish(QUEUE, task, ttl=seconds):
            raise LookupError(f"no queue for {task!r}: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = 0
    with BROKER.consume(QUEUE, worker) as consumer:
        async for delivery in consumer:
            await handle(delivery.message.body)
            delivery.ack()
            done += 1
            if done == limit:
                return


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
