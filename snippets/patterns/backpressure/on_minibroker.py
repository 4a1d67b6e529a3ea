# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Backpressure on the minibroker: a full queue makes its producer wait."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
QUEUE = "transcode"
LIMIT = 5  # tasks that may wait; usual: what workers do in minutes
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    BROKER.declare(QUEUE)


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    confirmed = 0
    for task in tasks:
        pause, deadline = 0.05, time.monotonic() + patience
        while not offer(task):
            if time.monotonic() > deadline:
                return confirmed  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
        confirmed += 1
    return confirmed


def offer(task: str) -> bool:
    # The queue itself has no limit. Nobody comes in between, as nothing
    # here awaits.
    if len(BROKER.find(QUEUE).ready) >= LIMIT:
        return False
    return QUEUE in BROKER.publish(QUEUE, task)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    with BROKER.consume(QUEUE, worker, prefetch) as consumer:
        async for delivery in consumer:
            await handle(delivery.message.body)
            done += 1
            if done == limit:
                consumer.prefetch = 0  # Else the ack would bring another task.
            delivery.ack()
            if done == limit:
                return


async def main() -> None:
    await declare()
    confirmed = await submit(TASKS, patience=0.2)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
