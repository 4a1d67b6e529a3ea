# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Backpressure on RabbitMQ: a full queue refuses, and its producer waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

from rabbitmq_client import (
    connect,
    declare_queue,
    open_consumer,
    publish,
    run,
    text,
)

QUEUE = "transcode"
LIMIT = 5  # tasks that may wait; usual: what workers do in minutes
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    full = {
        "x-max-length": LIMIT,
        # The default drops the oldest task, confirmed or not.
        "x-overflow": "reject-publish",
    }
    await declare_queue(channel, QUEUE, full)


async def submit(
    channel: AbstractChannel, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    for confirmed, task in enumerate(tasks):
        pause, deadline = 0.05, time.monotonic() + patience
        while not await offer(channel, task):
            if time.monotonic() > deadline:
                return confirmed  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 1.0)
    return len(tasks)


async def offer(channel: AbstractChannel, task: str) -> bool:
    # An alarm blocks the connection. Then the time-out raises, and the task
    # may still be taken when the alarm is over.
    try:
        await publish(channel, QUEUE, task.encode())
    except PublishError:
        raise  # It came back: there is no such queue.
    except DeliveryError:
        return False  # It is a nack: the queue did not take it.
    return True


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    # With no prefetch, RabbitMQ sends the first worker all that waits.
    async with open_consumer(QUEUE, prefetch, worker) as (_, messages):
        async for message in messages:
            task = text(message)
            await handle(task)
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings another task.
            await message.ack()


async def main() -> None:
    done: set[str] = set()

    async def note(task: str) -> None:
        done.add(task)

    async with connect() as channel:
        await declare(channel)
        taken = await submit(channel, TASKS, patience=0.2)
        print(f"confirmed {taken} of {len(TASKS)} tasks: the queue is full")
        await work("A", note, limit=len(TASKS) - taken)
        more = await submit(channel, TASKS[taken:])
        print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=taken)
    print(f"done: {len(done)} of {len(TASKS)} tasks")


if __name__ == "__main__":
    run(main)
