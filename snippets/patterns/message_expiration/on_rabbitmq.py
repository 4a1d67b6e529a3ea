# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Message expiration on RabbitMQ: what is too late never arrives."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, Message, connect

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "push"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # A dead letter exchange would get what expired, with that reason.
        await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )


async def submit(tasks: Sequence[str], seconds: float) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        for task in tasks:
            message = Message(
                task.encode(),
                delivery_mode=DeliveryMode.PERSISTENT,
                expiration=seconds,  # the client sends it in milliseconds
            )
            await channel.default_exchange.publish(
                message, routing_key=QUEUE, mandatory=True
            )


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # Time runs at the broker alone: what was prefetched is delivered,
        # however long it then waits here.
        await channel.set_qos(prefetch_count=1)
        # Without this, aio-pika waits for ever once the server has cancelled
        # its consumer: the queue is deleted, or (4.3) a task took too long.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await channel.get_queue(QUEUE)
        done = 0
        async with queue.iterator(consumer_tag=worker) as messages:
            async for message in messages:
                # Any bytes: a bad task must not stop the worker.
                task = message.body.decode(errors="surrogateescape")
                await handle(task)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another task
                await message.ack()
        if done != limit:  # the iterator ends quietly with its connection
            raise ConnectionError("RabbitMQ sends nothing any more")


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    await submit(["push: cat.mp4 is live"], seconds=60)
    await submit(["push: dog.mp4 starts now"], seconds=1)
    print("no worker for two seconds")
    await asyncio.sleep(2)
    await submit(["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
