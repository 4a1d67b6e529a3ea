# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to Kafka: an event for each committed upload."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
VIDEOS = TopicPartition("videos", 0)  # one partition: events stay in order
ID = "message-id"
DATABASE = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
BATCH = 10  # events that a crash may publish again
CONFIRM_SECONDS = 10.0  # for a batch; a stuck broker must not hold locks
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO outbox (event) VALUES (%s)"
# No SKIP LOCKED: a second relay waits, and no event overtakes another.
NEXT = "SELECT id, event FROM outbox ORDER BY id LIMIT %s FOR UPDATE"
DELETE = "DELETE FROM outbox WHERE id = ANY(%s)"

Row = tuple[int, str]  # the message id, and the event
Handler = Callable[[str, str], Awaitable[None]]
Publish = Callable[[Sequence[Row]], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(VIDEOS.topic, num_partitions=1, replication_factor=1)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


@asynccontextmanager
async def publisher() -> AsyncIterator[Publish]:
    # Idempotence spares the retries of this producer, not the next relay's.
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:

        async def publish(rows: Sequence[Row]) -> None:
            confirms = [
                await producer.send(
                    VIDEOS.topic,
                    event.encode(),
                    partition=VIDEOS.partition,
                    headers=[(ID, str(number).encode())],
                )
                for number, event in rows
            ]
            await asyncio.gather(*confirms)

        yield publish


async def relay(limit: int | None = None) -> None:
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        done = 0
        while limit is None or done < limit:
            moved = await _move(db, publish)
            await db.commit()
            done += moved
            if not moved:
                await asyncio.sleep(POLL_SECONDS)


async def _move(db: AsyncConnection, publish: Publish) -> int:
    """Publish a batch and delete it; the caller commits."""
    rows = await (await db.execute(NEXT, [BATCH])).fetchall()
    if rows:
        async with asyncio.timeout(CONFIRM_SECONDS):
            await publish(rows)  # before the delete: repeat, rather than lose
        await db.execute(DELETE, [[number for number, _ in rows]])
    return len(rows)


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id="thumbnailer",
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # it commits events that are not handled yet
    ) as consumer:
        consumer.assign([VIDEOS])  # by hand: run one receiver at a time
        done = 0
        while limit is None or done < limit:
            record = await consumer.getone()
            message_id = dict(record.headers).get(ID) or b""
            body = record.value or b""  # any bytes, or none
            await handle(
                body.decode(errors="surrogateescape"),
                message_id.decode(errors="surrogateescape"),
            )
            await consumer.commit({VIDEOS: record.offset + 1})
            done += 1


async def main() -> None:
    await declare()
    await upload(["cat.mp4", "dog.mp4"])
    try:
        await upload(["cat.mp4"])
    except UniqueViolation:
        print("a second cat.mp4 was rolled back, and its event with it")
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        await _move(db, publish)
        await db.rollback()  # as PostgreSQL does when a relay dies
    print("a relay published, and died before its commit")
    await relay(limit=2)

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=4)


if __name__ == "__main__":
    asyncio.run(main())
