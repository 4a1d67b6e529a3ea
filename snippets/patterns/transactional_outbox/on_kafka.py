# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to Kafka: an event for each committed upload."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer
from psycopg.errors import UniqueViolation

import outbox
from kafka_client import connect, consume, create_topics, run, text
from outbox import Row, upload

VIDEOS, ID, GROUP = "videos", "message-id", "thumbnailer"
Handler = Callable[[str, str], Awaitable[None]]


async def declare() -> None:
    async with outbox.connect() as db:
        await outbox.create_tables(db)
    await create_topics(VIDEOS)


def publisher(producer: AIOKafkaProducer) -> outbox.Publish:
    # Idempotence spares the retries of this producer, not the next relay's.
    async def publish(rows: Sequence[Row]) -> None:
        confirms = [
            await producer.send(
                VIDEOS,
                event.encode(),
                partition=0,  # One partition keeps the order.
                headers=[(ID, str(number).encode())],
            )
            for number, event in rows
        ]
        await asyncio.gather(*confirms)

    return publish


async def relay(producer: AIOKafkaProducer, limit: int | None = None) -> None:
    async with outbox.connect() as db:
        await outbox.relay(db, publisher(producer), limit)


async def receive(handle: Handler, limit: int | None = None) -> None:
    done = 0
    async with consume(GROUP, "thumbnailer", VIDEOS) as consumer:
        while done != limit:
            async with consumer.next() as record:
                message_id = dict(record.headers).get(ID) or b""
                await handle(
                    text(record), message_id.decode(errors="surrogateescape")
                )
                await consumer.commit(record)
            done += 1


async def main() -> None:
    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await declare()
    async with connect() as producer, outbox.connect() as db:
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")
        async with db.transaction(force_rollback=True):  # Its death does so.
            await outbox.move(db, publisher(producer))
        print("a relay published, and died before its commit")
        await relay(producer, limit=2)
    await receive(show, limit=4)


if __name__ == "__main__":
    run(outbox.with_database(main))
