# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""A window of confirms on NATS: publish while others are not confirmed."""

import asyncio
from collections.abc import Iterable

from nats.js import JetStreamContext

from nats_client import connect

STREAM = "transcode"
WINDOW = 50


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(name=STREAM, subjects=[STREAM])


async def submit(
    jetstream: JetStreamContext, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)  # which all lanes share

    async def lane() -> None:
        for task in left:
            await jetstream.publish(STREAM, task.encode())

    # The first publish that fails ends the others, and raises.
    async with asyncio.TaskGroup() as lanes:
        for _ in range(window):
            lanes.create_task(lane())


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    asyncio.run(main())
