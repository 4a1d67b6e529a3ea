# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Work queue on RabbitMQ: each task goes to one worker, crash or no."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]
Handler = Callable[[str, int | None], Awaitable[None]]


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
    # Only a quorum queue counts deliveries. RabbitMQ 4 drops a task whose
    # 21st failed, unless the queue has a dead letter exchange.
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(channel: AbstractChannel, tasks: Sequence[str]) -> None:
    for task in tasks:
        message = Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(  # waits for the confirm
            message, routing_key=QUEUE, mandatory=True, timeout=10
        )


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    # A connection of its own: as it ends, what the worker holds goes back.
    async with connect() as channel:
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.get_queue(QUEUE)
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


async def main() -> None:
    async with connect() as channel:
        await declare(channel)
        await submit(channel, TASKS)
    print(f"confirmed {len(TASKS)} tasks")
    seen: list[str] = []

    async def note(task: str, delivery: int | None) -> None:
        seen.append(f"{task}: delivery {delivery}")
        if len(seen) == 1:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")
    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    print(*sorted(seen[1:]), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
