# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""A batch with partial failure on RabbitMQ: reject the bad one alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rabbitmq_client import (
    connect,
    dead_letters_to,
    declare_queue,
    look,
    raw,
    run,
    text,
)
from rabbitmq_client import publish as publish_one

QUEUE, DEAD = "views", "views.dead"
BATCH, FILL_SECONDS = 4, 1
VIEWS = ["cat", "dog", "owl", "fox", "elk", "?", "bee", "hen"]

Store = Callable[[list[str]], Awaitable[None]]
Inbox = asyncio.Queue[AbstractIncomingMessage | None]


async def declare(channel: AbstractChannel) -> None:
    await declare_queue(channel, DEAD, {})
    await declare_queue(channel, QUEUE, dead_letters_to(DEAD))


async def publish(channel: AbstractChannel, views: Sequence[str]) -> None:
    for view in views:
        await publish_one(channel, QUEUE, raw(view))


async def next_batch(inbox: Inbox) -> list[AbstractIncomingMessage]:
    found = [await inbox.get()]
    with suppress(TimeoutError):  # a small batch is better than a late one
        async with asyncio.timeout(FILL_SECONDS):
            while len(found) < BATCH:
                found.append(await inbox.get())
    # None: the connection has ended, and all of these come again.
    return [] if None in found else [message for message in found if message]


async def work(store: Store) -> None:
    """Give batches to `store`, which keeps all of one or raises, or both."""
    inbox = Inbox()
    async with connect() as channel:
        channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        await channel.set_qos(prefetch_count=2 * BATCH)
        await (await channel.get_queue(QUEUE)).consume(inbox.put)
        while batch := await next_batch(inbox):
            try:
                await store([text(message) for message in batch])
                await batch[-1].ack(multiple=True)  # It acks all before it.
            except ValueError:  # One of them is bad, but which?
                for message in batch:
                    try:
                        await store([text(message)])
                        await message.ack()
                    except ValueError:
                        await message.reject(requeue=False)  # a dead letter


async def dead(channel: AbstractChannel) -> list[str]:
    return [text(letter) for letter in await look(channel, DEAD)]


async def main() -> None:
    async def store(views: list[str]) -> None:
        if "?" in views:
            raise ValueError("not a video: ?")
        stored.put_nowait("stored " + " ".join(views))

    stored = asyncio.Queue[str]()
    async with connect() as channel:
        await declare(channel)
        await publish(channel, VIEWS)
        worker = asyncio.create_task(work(store))
        async with asyncio.timeout(60):
            for _ in range(4):  # It sends one batch, and three of the other.
                print(await stored.get())
        await asyncio.sleep(3)  # It settles, on a busy machine too.
        print("dead:", *await dead(channel))
        worker.cancel()
        await asyncio.wait([worker])


if __name__ == "__main__":
    run(main)
