# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Publish-subscribe on PostgreSQL: each subscriber has a row per event."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # a notification can be missed, a row cannot

CREATE = """
CREATE TABLE IF NOT EXISTS subscription (subscriber text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS delivery (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subscriber text NOT NULL REFERENCES subscription ON DELETE CASCADE,
    event text NOT NULL,
    PRIMARY KEY (subscriber, id))"""
SUBSCRIBE = "INSERT INTO subscription VALUES (%s) ON CONFLICT DO NOTHING"
# Rows per subscriber, not "all events with an id above the last I saw": an
# event that commits late has a low id, and such a reader would skip it.
PUBLISH = """
INSERT INTO delivery (subscriber, event)
SELECT subscriber, %s FROM subscription"""
# Without SKIP LOCKED, a second receiver of the same name waits its turn: an
# event is never overtaken by the next one.
LOCK_NEXT = """
SELECT id, event FROM delivery WHERE subscriber = %s
ORDER BY id LIMIT 1 FOR UPDATE"""
DELETE = "DELETE FROM delivery WHERE subscriber = %s AND id = %s"

Handler = Callable[[str], Awaitable[None]]


async def create(db: AsyncConnection) -> None:
    # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('videos'))")
    await db.execute(CREATE)
    await db.commit()


async def subscribe(subscriber: str) -> None:
    async with await AsyncConnection.connect(URL) as db:
        await create(db)
        await db.execute(SUBSCRIBE, [subscriber])


async def publish(events: Sequence[str]) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        await create(db)
        await db.cursor().executemany(PUBLISH, [[event] for event in events])
        await db.execute("NOTIFY videos")  # sent with the commit


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with await AsyncConnection.connect(URL) as db:
        await db.execute("LISTEN videos")
        await db.commit()
        done = 0
        while limit is None or done < limit:
            cursor = await db.execute(LOCK_NEXT, [subscriber])
            if found := await cursor.fetchone():
                number, event = found
                await handle(event)
                await db.execute(DELETE, [subscriber, number])
                await db.commit()
                done += 1
            else:
                await db.rollback()  # keep no transaction open while idle
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
