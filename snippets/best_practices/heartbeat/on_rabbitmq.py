# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Heartbeats on RabbitMQ: a handler that blocks loses its connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import AMQPError

from rabbitmq_client import URL, clock, connect, publish, run

QUEUE = "transcode"
HEARTBEAT = 2  # seconds; 60 by default
LONG = 10  # seconds of work: longer than the broker waits

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> AbstractQueue:
    return await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(task: str) -> None:
    async with connect() as channel:
        await declare(channel)
        await publish(channel, QUEUE, task.encode())


async def work_on_one(handle: Handler) -> None:
    async with clock("connection"):
        connection = await aio_pika.connect(URL, heartbeat=HEARTBEAT)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await declare(channel)
        async with clock("task"):
            message = await queue.get(timeout=None)
        assert message
        failed = message.headers.get("x-delivery-count", 0)
        assert isinstance(failed, int)
        print(f"{message.body.decode()}, delivery {failed + 1}")
        await handle(message.body.decode())
        await asyncio.sleep(0.1)  # The loop sees now what happened.
        await message.ack()


def transcode(_: str) -> None:
    time.sleep(LONG)  # It computes, and nothing else runs in its thread.


async def in_the_loop(task: str) -> None:
    transcode(task)


async def in_a_thread(task: str) -> None:
    await asyncio.to_thread(transcode, task)


async def main() -> None:
    await submit("cat.mp4")
    for handle in (in_the_loop, in_a_thread):
        print(handle.__name__)
        try:
            await work_on_one(handle)
        except (AMQPError, RuntimeError):
            print("  done, and the connection is gone: not acknowledged")
        else:
            print("  done and acknowledged")


if __name__ == "__main__":
    run(main)
