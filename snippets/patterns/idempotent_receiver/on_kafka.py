# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on Kafka: a view counts once, however often sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from aiokafka import AIOKafkaProducer

import inbox
from inbox import count_once, refused, views
from kafka_client import connect, consume, create_topics, in_time, run

VIEWS, ID, GROUP = "views", "message-id", "counter"
Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with inbox.connect() as db:
        await inbox.create_tables(db)
    await create_topics(VIEWS)


async def publish(
    producer: AIOKafkaProducer, events: Sequence[tuple[str, str]]
) -> None:
    # Idempotence drops what this producer sends again by itself, and no more.
    async with in_time("confirms"):
        confirms = [
            await producer.send(
                VIEWS,
                event.encode(),
                partition=0,
                headers=[(ID, message_id.encode())],
            )
            for message_id, event in events
        ]
        await asyncio.gather(*confirms)


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with (
        consume(GROUP, receiver, VIEWS) as consumer,
        inbox.connect() as db,
    ):
        while done != limit:
            async with consumer.next() as record:
                named = dict(record.headers).get(ID) or b""
                message_id = named.decode("ascii", "replace")
                what = await count_once(db, message_id, record.value or b"")
                await handle(what)
                # Last: a crash in between repeats the record, and loses none.
                await consumer.commit(record)
            done += 1


async def main() -> None:
    async def crash(what: str) -> None:
        raise RuntimeError(what)

    async def show(what: str) -> None:
        print(f"A {what}")

    await declare()
    async with connect() as producer:
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(producer, [view, view])  # Its confirm got lost.
        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")
        await receive("A", show, limit=2)
        broken = "17", "viewed cat.mp4"
        await publish(producer, [broken, (str(uuid4()), "viewed cat.mp4")])
        await receive("A", show, limit=2)
    async with inbox.connect() as db:
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(inbox.with_database(main))
