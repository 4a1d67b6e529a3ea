# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""A window of confirms on PostgreSQL: one commit for many rows."""

from collections.abc import Iterable
from itertools import islice

from database import Connection, connect, create, run

WINDOW = 50
TABLES = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
COPY = "COPY task (body) FROM STDIN"


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def submit(
    db: Connection, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)
    while batch := list(islice(left, window)):
        # One statement, one transaction, one wait for the disk, for all.
        async with db.cursor().copy(COPY) as rows:
            for task in batch:
                await rows.write_row([task])


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as db:
        await declare(db)
        await submit(db, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    run(main)
