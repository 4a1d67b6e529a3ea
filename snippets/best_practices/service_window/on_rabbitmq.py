# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""A window of confirms on RabbitMQ: publish while others are not confirmed."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
WINDOW = 50


@asynccontextmanager
async def connect() -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(URL, timeout=10, heartbeat=10) as opened:
        # Confirms are on; what can't be routed raises.
        yield await opened.channel(on_return_raises=True)


async def declare(channel: AbstractChannel) -> None:
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(
    channel: AbstractChannel, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)  # which all lanes share

    async def lane() -> None:
        for task in left:
            message = aio_pika.Message(task.encode(), delivery_mode=2)
            await channel.default_exchange.publish(message, QUEUE, timeout=10)

    # The first publish that fails ends the others, and raises.
    async with asyncio.TaskGroup() as lanes:
        for _ in range(window):
            lanes.create_task(lane())


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as channel:
        await declare(channel)
        await submit(channel, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    asyncio.run(main())
