# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Transactional outbox on PostgreSQL: the queue is in the same database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from psycopg.errors import UniqueViolation

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1

TABLES = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO queue (event) VALUES (%s)"
# The oldest one or none: while a receiver has it, a second one waits, and no
# event overtakes another.
NEXT = """
SELECT id, event FROM queue WHERE id = (SELECT min(id) FROM queue)
FOR UPDATE SKIP LOCKED"""
DELETE = "DELETE FROM queue WHERE id = %s"

Handler = Callable[[str, str], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def upload(db: Connection, videos: Sequence[str]) -> None:
    for video in videos:
        async with db.transaction():  # both rows, or none
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])


async def relay(limit: int | None = None) -> None:
    """Nothing to do: the commit put the event where its receiver looks."""


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with connect("thumbnailer") as db:
        done = 0
        while limit is None or done < limit:
            async with db.transaction():
                found = await db.execute(NEXT)
                async for number, event in found:  # It is one, or none.
                    await handle(event, str(number))
                    await db.execute(DELETE, [number])
                    done += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    async with connect() as db:
        await declare(db)
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")
    await receive(show, limit=2)


if __name__ == "__main__":
    run(main)
