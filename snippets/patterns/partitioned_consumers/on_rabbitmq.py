# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Partitioned consumers on RabbitMQ: the tasks of a key stay in order."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from zlib import crc32

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
CHANNEL = "videos"
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(partitions: int = 2) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        for number in range(partitions):
            await channel.declare_queue(
                f"{CHANNEL}.{number}",
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-single-active-consumer": True,
                },
            )


async def queues(connection: AbstractConnection) -> list[str]:
    found: list[str] = []
    while True:
        channel = await connection.channel()
        name = f"{CHANNEL}.{len(found)}"
        try:  # a passive declaration, which fails if there is no such queue
            await channel.get_queue(name)
        except ChannelNotFoundEntity:  # this closes the channel, too
            if not found:
                raise LookupError("no queue: call declare() first") from None
            return found
        found.append(name)
        await channel.close()


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    async with await connect(URL) as connection:
        partitions = len(await queues(connection))
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        for key, task in tasks:
            # Not hash(): it gives each process another number for one key.
            number = crc32(key.encode()) % partitions
            await channel.default_exchange.publish(
                Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT),
                routing_key=f"{CHANNEL}.{number}",
                mandatory=True,
            )


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)  # for each queue's consumer
        # Without this, aio-pika waits for ever once the server has cancelled
        # a consumer: the queue is deleted, or (4.3) a task took too long.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )

        async def serve(name: str) -> None:
            queue = await channel.get_queue(name)
            # All priorities equal: the first worker would get every queue.
            # These differ from queue to queue, and spread the queues.
            wish = {"x-priority": crc32(f"{name} {worker}".encode()) % 256}
            async with queue.iterator(arguments=wish) as messages:
                async for message in messages:
                    # Any bytes: a bad task must not stop the worker.
                    task = message.body.decode(errors="surrogateescape")
                    await handle(task)
                    await message.ack()
                    if next(done) == limit:
                        return
            # The iterator ends quietly with its connection.
            raise ConnectionError("RabbitMQ sends nothing any more")

        names = await queues(connection)
        serving = [asyncio.create_task(serve(name)) for name in names]
        try:  # side by side: a task that hangs holds up its own queue only
            await next(asyncio.as_completed(serving))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    asyncio.run(main())
