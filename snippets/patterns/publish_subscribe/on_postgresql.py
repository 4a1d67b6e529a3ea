# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Publish-subscribe on PostgreSQL: each subscriber has a row per event."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1

TABLES = """
CREATE TABLE IF NOT EXISTS subscription (subscriber text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber text NOT NULL REFERENCES subscription ON DELETE CASCADE,
    event text NOT NULL)"""
SUBSCRIBE = "INSERT INTO subscription VALUES (%s) ON CONFLICT DO NOTHING"
# Each subscriber has rows of its own. One that asks for "all events with an
# id above the last I saw" skips an event that commits late, with a low id.
PUBLISH = """
INSERT INTO delivery (subscriber, event)
SELECT subscriber, %s FROM subscription"""
# It takes the oldest or none: while a receiver has it, a second one of the
# same name waits, and no event overtakes another.
LOCK_NEXT = """
SELECT id, event FROM delivery WHERE id = (
    SELECT min(id) FROM delivery WHERE subscriber = %s)
FOR UPDATE SKIP LOCKED"""
DELETE = "DELETE FROM delivery WHERE id = %s"

Handler = Callable[[str], Awaitable[None]]


async def subscribe(db: Connection, subscriber: str) -> None:
    await create(db, TABLES)
    await db.execute(SUBSCRIBE, [subscriber])


async def publish(db: Connection, events: Sequence[str]) -> None:
    async with db.transaction():  # It takes all, or none.
        for event in events:
            await db.execute(PUBLISH, [event])


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(subscriber) as db:
        done = 0
        while limit is None or done < limit:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT, [subscriber])
                async for number, event in found:  # It is one, or none.
                    await handle(event)
                    await db.execute(DELETE, [number])
                    done += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def thumbnail(event: str) -> None:
        print(f"thumbnailer: {event}")

    async def notify(event: str) -> None:
        print(f"notifier: {event}")

    async with connect() as db:
        await subscribe(db, "thumbnailer")
        await subscribe(db, "notifier")
        await publish(db, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", thumbnail, limit=2)
        print("notifier is away")
        await publish(db, ["uploaded owl.mp4"])
        await receive("thumbnailer", thumbnail, limit=1)
        print("notifier is back")
        await receive("notifier", notify, limit=3)


if __name__ == "__main__":
    run(main)
