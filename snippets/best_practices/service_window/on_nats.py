# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""A window of confirms on NATS: publish while others are not confirmed."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import nats
from nats.js import JetStreamContext

URL = urlsplit(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
STREAM = "transcode"
WINDOW = 50


@asynccontextmanager
async def connect() -> AsyncIterator[JetStreamContext]:
    async with await nats.connect(
        URL._replace(netloc=URL.netloc.rpartition("@")[2]).geturl(),
        # In the address, the client would leave them percent-encoded.
        user=unquote(URL.username) if URL.username else None,
        password=unquote(URL.password) if URL.password else None,
        ping_interval=5,  # after two without an answer it connects again
    ) as connection:
        yield connection.jetstream()


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(name=STREAM, subjects=[STREAM])


async def submit(
    jetstream: JetStreamContext, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)  # which all lanes share

    async def lane() -> None:
        for task in left:
            await jetstream.publish(STREAM, task.encode(), timeout=10)

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
