# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Partitioned consumers on NATS JetStream: a key's tasks stay in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StreamConfig, SubjectTransform
from nats.js.errors import NotFoundError

from nats_client import SECONDS, connect, consume, renewed, run, text

CHANNEL = "videos"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext, partitions: int = 2) -> None:
    # The server hashes the key, the first token that * stands for.
    to = f"{CHANNEL}.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}"
    stream = StreamConfig(
        name=CHANNEL,
        subjects=[f"{CHANNEL}.*"],
        subject_transform=SubjectTransform(f"{CHANNEL}.*", to),
        retention=RetentionPolicy.WORK_QUEUE,  # It deletes what is done.
    )
    try:
        await jetstream.update_stream(stream)
    except NotFoundError:
        await jetstream.add_stream(stream)
    for number in range(partitions):
        await jetstream.add_consumer(
            CHANNEL,
            durable_name=f"partition-{number}",
            filter_subject=f"{CHANNEL}.{number}.*",
            ack_wait=ACK_WAIT,
            max_ack_pending=1,  # It is for all workers: the next waits.
        )


async def submit(
    jetstream: JetStreamContext, tasks: Sequence[tuple[str, str]]
) -> None:
    for key, task in tasks:  # a key is one token: no dot, no space in it
        await jetstream.publish(f"{CHANNEL}.{key}", task.encode())


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)
    async with connect(worker) as jetstream:

        async def serve(partition: str) -> None:
            async for message in consume(jetstream, CHANNEL, partition):
                async with renewed([message], ACK_WAIT):
                    await handle(text(message))
                    await message.ack_sync(SECONDS)
                if next(done) == limit:
                    return

        partitions = await jetstream.consumers_info(CHANNEL)
        serving = [asyncio.create_task(serve(p.name)) for p in partitions]
        try:  # side by side: a task that hangs holds up its partition only
            await next(asyncio.as_completed(serving))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, TASKS[:4])
        handled: list[str] = []

        async def note(task: str) -> None:
            handled.append(task)
            if handled == ["upload fox", "transcode fox"]:
                raise RuntimeError("crashed")

        try:
            await work("A", note)
        except RuntimeError as error:
            print("A:", ", ".join(handled), "...", error)
        await submit(jetstream, TASKS[4:])
        await work("B", note, limit=7)
        for key in ("fox", "owl"):
            print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    run(main)
