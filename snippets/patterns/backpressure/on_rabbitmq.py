# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Backpressure on RabbitMQ: a full queue refuses, and its producer waits."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
LIMIT = 5  # tasks that may wait; usual: what workers do in minutes
ANSWER_SECONDS = 30  # an alarm blocks the connection: then nothing answers,
# the time-out raises, and the task may still be taken when the alarm is over
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
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


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        confirmed = 0
        for task in tasks:
            pause, deadline = 0.05, time.monotonic() + patience
            while not await offer(channel, task):
                if time.monotonic() > deadline:
                    return confirmed  # the caller decides about the rest
                # At random: producers must not all come back at once.
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
            confirmed += 1
        return confirmed


async def offer(channel: AbstractChannel, task: str) -> bool:
    try:
        await channel.default_exchange.publish(
            Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT),
            routing_key=QUEUE,
            mandatory=True,
            timeout=ANSWER_SECONDS,
        )
    except PublishError:
        raise  # returned: there is no such queue
    except DeliveryError:
        return False  # a nack: the queue did not take it
    return True


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # Without it RabbitMQ sends the first worker all that waits.
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
    await declare()
    confirmed = await submit(TASKS, patience=0.2)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
