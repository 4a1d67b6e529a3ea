# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""A window of confirms on NATS: publish while others are not confirmed."""

import asyncio
from collections import deque
from collections.abc import Iterable

from nats.js import JetStreamContext
from nats.js.api import PubAck

from nats_client import SECONDS, connect, run

STREAM = "transcode"
WINDOW = 50


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(name=STREAM, subjects=[STREAM])


async def submit(
    jetstream: JetStreamContext, tasks: Iterable[str], window: int = WINDOW
) -> None:
    unconfirmed = deque[asyncio.Future[PubAck]]()
    try:
        for task in tasks:
            if len(unconfirmed) == window:
                await oldest(unconfirmed)
            sent = await jetstream.publish_async(STREAM, task.encode())
            unconfirmed.append(sent)
        while unconfirmed:
            await oldest(unconfirmed)
    finally:
        for sent in unconfirmed:  # the client would wait for them for ever
            sent.cancel()


async def oldest(unconfirmed: deque[asyncio.Future[PubAck]]) -> None:
    """Wait for the oldest confirm, or raise its error."""
    if not unconfirmed[0].done():
        await asyncio.wait([unconfirmed[0]], timeout=SECONDS)
    if not unconfirmed[0].done():
        raise TimeoutError(f"no confirm after {SECONDS} s: send it again")
    unconfirmed.popleft().result()


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    run(main)
