# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Work queue on NATS JetStream: each task goes to one worker, crash or no."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType

from nats_client import SECONDS, batches, connect, renewed, run, text

QUEUE, WORKERS = "transcode", "workers"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(
        name=QUEUE,
        subjects=[QUEUE],
        retention=RetentionPolicy.WORK_QUEUE,  # It deletes what is done.
        storage=StorageType.FILE,  # It is fsynced every 2 minutes by default.
    )
    # One consumer for all workers: they share it, each task goes to one.
    await jetstream.add_consumer(
        QUEUE,
        durable_name=WORKERS,
        ack_wait=ACK_WAIT,
        max_ack_pending=1000,  # It is for all workers: more would wait.
    )


async def submit(jetstream: JetStreamContext, tasks: Sequence[str]) -> None:
    for task in tasks:  # connection.publish() would not wait for an answer
        await jetstream.publish(QUEUE, task.encode())


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker) as jetstream:
        async for held in batches(jetstream, QUEUE, WORKERS, prefetch, limit):
            async with renewed(held, ACK_WAIT):
                while held:
                    message = held[0]
                    delivery = message.metadata.num_delivered
                    await handle(text(message), delivery)
                    await message.ack_sync(SECONDS)
                    held.remove(message)


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, TASKS)
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
