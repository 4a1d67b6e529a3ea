# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Backpressure on RabbitMQ: a full queue refuses, and its producer waits."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
LIMIT = 5  # tasks that may wait; usual: what workers do in minutes
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

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
    await channel.declare_queue(
        QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-max-length": LIMIT,
            # The default drops the oldest task, confirmed or not.
            "x-overflow": "reject-publish",
        },
    )


async def submit(
    channel: AbstractChannel, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    for confirmed, task in enumerate(tasks):
        pause, deadline = 0.05, time.monotonic() + patience
        while not await offer(channel, task):
            if time.monotonic() > deadline:
                return confirmed  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 1.0)
    return len(tasks)


async def offer(channel: AbstractChannel, task: str) -> bool:
    message = Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT)
    try:
        # An alarm blocks the connection. Then the time-out raises, and the
        # task may still be taken when the alarm is over.
        await channel.default_exchange.publish(
            message, routing_key=QUEUE, mandatory=True, timeout=30
        )
    except PublishError:
        raise  # returned: there is no such queue
    except DeliveryError:
        return False  # a nack: the queue did not take it
    return True


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    # A connection of its own: as it ends, what the worker holds goes back.
    async with connect() as channel:
        # Without it RabbitMQ sends the first worker all that waits.
        await channel.set_qos(prefetch_count=prefetch)
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
    done: set[str] = set()

    async def note(task: str) -> None:
        done.add(task)

    async with connect() as channel:
        await declare(channel)
        taken = await submit(channel, TASKS, patience=0.2)
        print(f"confirmed {taken} of {len(TASKS)} tasks: the queue is full")
        await work("A", note, limit=len(TASKS) - taken)
        more = await submit(channel, TASKS[taken:])
        print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=taken)
    print(f"done: {len(done)} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
