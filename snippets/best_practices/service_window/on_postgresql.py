# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""A window of confirms on PostgreSQL: one commit for many rows."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from database import Connection, connect, create

WINDOW = 50
TABLES = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def submit(
    db: Connection, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)
    while batch := list(islice(left, window)):
        # One transaction, one wait for the disk, and one round trip: inside
        # executemany the client sends on without waiting for each answer.
        async with db.transaction():
            await db.cursor().executemany(
                "INSERT INTO task (body) VALUES (%s)", [[one] for one in batch]
            )


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as db:
        await declare(db)
        await submit(db, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    asyncio.run(main())
