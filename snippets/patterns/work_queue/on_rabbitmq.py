# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Work queue on RabbitMQ: each task goes to one worker, crash or no."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, Message, connect

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # Only a quorum queue counts deliveries. RabbitMQ 4 drops a task whose
        # 21st failed, unless the queue has a dead letter exchange.
        await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )


async def submit(tasks: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        # RabbitMQ confirms what it can't route, too: it returns it first, and
        # without on_return_raises nobody would notice.
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        for task in tasks:
            await channel.default_exchange.publish(
                Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT),
                routing_key=QUEUE,
                mandatory=True,
            )


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
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
                # The server's count, but at first what the publisher may say.
                told = message.headers.get("x-delivery-count")
                failed = told if isinstance(told, int) else 0
                # Any bytes: a bad task must not stop the worker.
                task = message.body.decode(errors="surrogateescape")
                await handle(task, failed + 1)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another task
                await message.ack()
        if done != limit:  # the iterator ends quietly with its connection
            raise ConnectionError("RabbitMQ sends nothing any more")


async def main() -> None:
    await declare()
    await submit(TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
