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
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType
from nats.js.errors import APIError

from nats_client import SECONDS, connect, renewed

QUEUE, WORKERS = "transcode", "workers"
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
FULL = "maximum messages exceeded"  # its err_code, 10077, says less
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(
        name=QUEUE,
        subjects=[QUEUE],
        retention=RetentionPolicy.WORK_QUEUE,  # delete what is done
        storage=StorageType.FILE,
        max_msgs=LIMIT,
        # The default drops the oldest task, confirmed or not.
        discard=DiscardPolicy.NEW,
    )
    await jetstream.add_consumer(
        QUEUE,
        durable_name=WORKERS,
        ack_wait=ACK_WAIT,
        max_ack_pending=1000,  # of all workers together: more would wait
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
        queue = await jetstream.pull_subscribe_bind(WORKERS, QUEUE)
        done = 0
        while limit is None or done < limit:
            batch = min(prefetch, limit - done) if limit else prefetch
            try:
                held = await queue.fetch(batch, timeout=5)
            except TimeoutError:
                continue  # there was nothing to do
            async with renewed(held, ACK_WAIT):
                while held:
                    # Any bytes: a bad task must not stop the worker.
                    task = held[0].data.decode(errors="surrogateescape")
                    await handle(task)
                    await held.pop(0).ack_sync(SECONDS)
                    done += 1


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        confirmed = await submit(jetstream, TASKS, patience=0.2)
        print(
            f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full"
        )
        done: list[str] = []

        async def note(task: str) -> None:
            done.append(task)

        await work("A", note, limit=len(TASKS) - confirmed)
        more = await submit(jetstream, TASKS[confirmed:])
        print(f"worker A has made room: confirmed {more} more")
        await work("A", note, limit=confirmed)
        print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
