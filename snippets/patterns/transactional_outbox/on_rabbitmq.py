# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to RabbitMQ: an event for each committed upload."""

from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel
from psycopg.errors import UniqueViolation

import outbox
from outbox import Row, upload
from rabbitmq_client import (
    connect,
    declare_queue,
    open_consumer,
    publish,
    run,
    text,
)

QUEUE = "videos"

Handler = Callable[[str, str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    await declare_queue(channel, QUEUE, {})
    async with outbox.connect() as db:
        await outbox.create_tables(db)


def publisher(channel: AbstractChannel) -> outbox.Publish:
    async def publish_all(rows: Sequence[Row]) -> None:
        for number, event in rows:  # each waits for its confirm
            await publish(
                channel, QUEUE, event.encode(), message_id=str(number)
            )

    return publish_all


async def relay(channel: AbstractChannel, limit: int | None = None) -> None:
    async with outbox.connect() as db:
        await outbox.relay(db, publisher(channel), limit)


async def receive(handle: Handler, limit: int | None = None) -> None:
    done = 0
    async with open_consumer(QUEUE) as (_, messages):
        async for message in messages:  # They come in order.
            event = text(message)
            await handle(event, message.message_id or "")
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings another one.
            await message.ack()


async def main() -> None:
    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    async with connect() as channel, outbox.connect() as db:
        await declare(channel)
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")
        async with db.transaction(force_rollback=True):
            await outbox.move(db, publisher(channel))
        print("a relay published, and died before its commit")
        await relay(channel, limit=2)
        await receive(show, limit=4)


if __name__ == "__main__":
    run(outbox.with_database(main))
