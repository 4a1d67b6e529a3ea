# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Message expiration on RabbitMQ: what is too late never arrives."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "push"

Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(URL, timeout=10, heartbeat=10) as opened:
        channel = await opened.channel(on_return_raises=True)
        # Else aio-pika waits for ever once its consumer is cancelled.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: opened.close())
        yield channel
        if channel.is_closed:  # a consumer's loop ends quietly with it
            raise ConnectionError(f"RabbitMQ is lost: {underlay.closing!r}")


async def declare(channel: AbstractChannel) -> None:
    # A dead letter exchange would get what expired, with that reason.
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(
    channel: AbstractChannel, tasks: Sequence[str], seconds: float
) -> None:
    for task in tasks:
        message = Message(
            task.encode(),
            delivery_mode=DeliveryMode.PERSISTENT,
            expiration=seconds,  # the client sends it in milliseconds
        )
        await channel.default_exchange.publish(
            message, routing_key=QUEUE, mandatory=True, timeout=10
        )


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = 0
    # A connection of its own: as it ends, what the worker holds goes back.
    async with connect() as channel:
        # Time runs at the broker alone: what was prefetched is delivered,
        # however long it then waits here.
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue(QUEUE)
        async with queue.iterator(consumer_tag=worker) as messages:
            async for message in messages:
                # Any bytes: a bad task must not stop the worker.
                task = message.body.decode(errors="surrogateescape")
                await handle(task)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another task
                await message.ack()


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    async with connect() as channel:
        await declare(channel)
        await submit(channel, ["push: cat.mp4 is live"], seconds=60)
        await submit(channel, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(channel, ["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
