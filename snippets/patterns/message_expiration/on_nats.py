# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Message expiration on NATS JetStream: the worker skips what is too late."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from nats.aio.msg import Msg
from nats.js import JetStreamContext

import nats_client
from nats_client import SECONDS, connect, consume, renewed, run, text

QUEUE, WORKERS = "push", "workers"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    # Of each message alike, and a bound to what is kept. A time for each
    # message by itself came with the server 2.11.
    day = 24 * 3600
    await nats_client.declare_queue(
        jetstream, QUEUE, WORKERS, ACK_WAIT, max_age=day
    )


async def submit(
    jetstream: JetStreamContext, tasks: Sequence[str], seconds: float
) -> None:
    ttl = {"TTL": str(seconds)}
    for task in tasks:
        await jetstream.publish(QUEUE, task.encode(), headers=ttl)


def too_late(message: Msg) -> bool:
    age = datetime.now(UTC) - message.metadata.timestamp  # It is the server's.
    try:
        return age.total_seconds() > float((message.headers or {})["TTL"])
    except (KeyError, ValueError):
        return False  # no time, or none that we can read: rather deliver it


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker) as jetstream:
        done = 0
        async for message in consume(jetstream, QUEUE, WORKERS):
            async with renewed([message], ACK_WAIT):
                if not too_late(message):
                    await handle(text(message))
                    done += 1
                await message.ack_sync(SECONDS)
            if done == limit:
                return


async def main() -> None:
    async with connect() as jetstream:

        async def push(task: str) -> None:
            print(task)

        await declare(jetstream)
        await submit(jetstream, ["push: cat.mp4 is live"], seconds=60)
        await submit(jetstream, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(jetstream, ["push: owl.mp4 is live"], seconds=60)
        await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
