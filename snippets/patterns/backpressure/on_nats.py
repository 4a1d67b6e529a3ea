# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Backpressure on NATS JetStream: a full stream refuses, a producer waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy
from nats.js.errors import APIError

import nats_client
from nats_client import SECONDS, batches, connect, renewed, run, text

QUEUE, WORKERS = "transcode", "workers"
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
FULL = "maximum messages exceeded"  # its err_code, 10077, says less
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await nats_client.declare_queue(
        jetstream,
        QUEUE,
        WORKERS,
        ACK_WAIT,
        max_msgs=LIMIT,
        # The default drops the oldest task, confirmed or not.
        discard=DiscardPolicy.NEW,
    )


async def submit(
    jetstream: JetStreamContext, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    confirmed = 0
    for task in tasks:
        pause, deadline = 0.05, time.monotonic() + patience
        while not await offer(jetstream, task):
            if time.monotonic() > deadline:
                return confirmed  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
        confirmed += 1
    return confirmed


async def offer(jetstream: JetStreamContext, task: str) -> bool:
    try:
        await jetstream.publish(QUEUE, task.encode())
    except APIError as error:
        if error.description != FULL:
            raise
        return False
    return True


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker) as jetstream:
        async for held in batches(jetstream, QUEUE, WORKERS, prefetch, limit):
            async with renewed(held, ACK_WAIT):
                while held:
                    await handle(text(held[0]))
                    await held.pop(0).ack_sync(SECONDS)


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        confirmed = await submit(jetstream, TASKS, patience=0.2)
        print("confirmed", confirmed, "of 8 tasks: the queue is full")
        done = set()

        async def note(task: str) -> None:
            done.add(task)

        await work("A", note, limit=len(TASKS) - confirmed)
        more = await submit(jetstream, TASKS[confirmed:])
        print(f"worker A has made room: confirmed {more} more")
        await work("A", note, limit=confirmed)
        print(f"done: {len(done)} of {len(TASKS)} tasks")


if __name__ == "__main__":
    run(main)
