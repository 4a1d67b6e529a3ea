# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to NATS JetStream: the stream drops repetitions."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import nats
from nats.js.api import StorageType
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
CHANNEL, RECEIVER = "videos", "thumbnailer"
KEEP = 7 * 24 * 3600.0  # seconds; a receiver that is away longer loses events
REMEMBER = 120.0  # seconds for which the stream knows a message id
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
    # The client would try for 2 minutes before it says that it can't.
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(
            name=CHANNEL,
            subjects=[CHANNEL],
            max_age=KEEP,
            duplicate_window=REMEMBER,
            storage=StorageType.FILE,  # fsynced every 2 minutes by default
        )
        await jetstream.add_consumer(
            CHANNEL,
            durable_name=RECEIVER,
            max_ack_pending=1,  # an event that failed is not overtaken
        )


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


@asynccontextmanager
async def publisher() -> AsyncIterator[Publish]:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()

        async def publish(rows: Sequence[Row]) -> None:
            for number, event in rows:  # each waits for its confirm
                await jetstream.publish(
                    CHANNEL,
                    event.encode(),
                    headers={"Nats-Msg-Id": str(number)},
                )

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
    async with await nats.connect(URL) as connection:
        jetstream = connection.jetstream()
        events = await jetstream.pull_subscribe_bind(RECEIVER, CHANNEL)
        done = 0
        while limit is None or done < limit:
            try:
                [message] = await events.fetch(timeout=1)
            except TimeoutError:
                continue  # nothing was published
            message_id = (message.headers or {}).get("Nats-Msg-Id", "")
            # Any bytes: a bad event must not stop the receiver.
            event = message.data.decode(errors="surrogateescape")
            await handle(event, message_id)
            await message.ack_sync()  # returns when the server has it
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

    await receive(show, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
