# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to Redis Streams: an event for each upload."""

from collections.abc import Awaitable, Callable, Sequence

from psycopg.errors import UniqueViolation
from redis.asyncio import Redis

import outbox
from outbox import Row, upload
from redis_client import add, connect, create_group, run, subscribed

CHANNEL, RECEIVER = "videos", "thumbnailer"
KEEP = 100_000  # events; a receiver that falls further behind loses the oldest

Handler = Callable[[str, str], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, CHANNEL, RECEIVER)
    async with outbox.connect() as db:
        await outbox.create_tables(db)


def publisher(redis: Redis) -> outbox.Publish:
    async def publish(rows: Sequence[Row]) -> None:
        # The entry's own id is another one, each time it is added.
        entries = [
            (CHANNEL, {"id": str(number), "event": event})
            for number, event in rows
        ]
        await add(redis, entries, KEEP)

    return publish


async def relay(redis: Redis, limit: int | None = None) -> None:
    async with outbox.connect() as db:
        await outbox.relay(db, publisher(redis), limit)


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with connect() as redis:
        events = subscribed(redis, CHANNEL, RECEIVER, limit)
        async for number, fields in events:
            event = fields.get("event", str(fields))
            await handle(event, fields.get("id", ""))
            await redis.xack(CHANNEL, RECEIVER, number)


async def main() -> None:
    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    async with connect() as redis, outbox.connect() as db:
        await declare(redis)
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")
        async with db.transaction(force_rollback=True):
            await outbox.move(db, publisher(redis))
        print("a relay published, and died before its commit")
        await relay(redis, limit=2)
        await receive(show, limit=4)


if __name__ == "__main__":
    run(outbox.with_database(main))
