# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Transactional outbox on PostgreSQL: the queue is in the same database."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

DATABASE = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO queue (event) VALUES (%s)"
# No SKIP LOCKED: a second receiver waits, and no event overtakes another.
NEXT = "SELECT id, event FROM queue ORDER BY id LIMIT 1 FOR UPDATE"
DELETE = "DELETE FROM queue WHERE id = %s"

Handler = Callable[[str, str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


async def relay(limit: int | None = None) -> None:
    """Nothing to do: the commit put the event where its receiver looks."""


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        done = 0
        while limit is None or done < limit:
            if found := await (await db.execute(NEXT)).fetchone():
                number, event = found
                await handle(event, str(number))
                await db.execute(DELETE, [number])
                done += 1
            await db.commit()  # idle or not, keep no transaction open
            if not found:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    await declare()
    await upload(["cat.mp4", "dog.mp4"])
    try:
        await upload(["cat.mp4"])
    except UniqueViolation:
        print("a second cat.mp4 was rolled back, and its event with it")

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
