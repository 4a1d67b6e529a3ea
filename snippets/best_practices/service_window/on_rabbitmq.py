# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""A window of confirms on RabbitMQ: publish while others are not confirmed."""

import asyncio
from collections.abc import Iterable

from aio_pika.abc import AbstractChannel

from rabbitmq_client import connect, declare_queue, publish, run

QUEUE = "transcode"
WINDOW = 50


async def declare(channel: AbstractChannel) -> None:
    await declare_queue(channel, QUEUE, {})


async def submit(
    channel: AbstractChannel, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)  # All lanes share it.

    async def lane() -> None:
        for task in left:
            await publish(channel, QUEUE, task.encode())

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
    run(main)
