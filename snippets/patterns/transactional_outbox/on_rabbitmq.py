# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to RabbitMQ: an event for each committed upload."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel, AbstractQueue
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "videos"
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
    async with await connect(URL) as connection:
        await _queue(await connection.channel())


async def _queue(channel: AbstractChannel) -> AbstractQueue:
    return await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


@asynccontextmanager
async def publisher() -> AsyncIterator[Publish]:
    async with await connect(URL) as connection:
        # Else an event that no queue takes is confirmed all the same.
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )

        async def publish(rows: Sequence[Row]) -> None:
            for number, event in rows:  # each waits for its confirm
                message = Message(
                    event.encode(),
                    message_id=str(number),
                    delivery_mode=DeliveryMode.PERSISTENT,
                )
                await channel.default_exchange.publish(message, QUEUE)

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
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)  # one by one, in order
        # Without this, aio-pika waits for ever once the server has cancelled
        # its consumer, for example because the queue was deleted.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await _queue(channel)
        done = 0
        async with queue.iterator() as messages:
            async for message in messages:
                # Any bytes: a bad event must not stop the receiver.
                event = message.body.decode(errors="surrogateescape")
                await handle(event, message.message_id or "")
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another one
                await message.ack()
        if done != limit:  # the iterator ends quietly with its connection
            raise ConnectionError("RabbitMQ sends nothing any more")


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
