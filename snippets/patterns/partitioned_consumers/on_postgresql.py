# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Partitioned consumers on PostgreSQL: each key is a partition of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

TABLE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL, body text NOT NULL, UNIQUE (key, id))"""
# Publishers of one key in turn. Otherwise a task that commits late may have
# a lower number than one that a worker is at: two of a key at once.
IN_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
INSERT = "INSERT INTO task (key, body) VALUES (%s, %s)"
# Only the oldest task of a key, and only if nobody is at it.
LOCK_NEXT = """
SELECT id, body FROM task WHERE id = (
    SELECT min(id) FROM task AS same WHERE same.key = task.key)
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""

Handler = Callable[[str], Awaitable[None]]


async def declare(db: Connection, partitions: int = 2) -> None:
    del partitions  # a worker locks a key, so there is nothing to divide
    await create(db, TABLE)


async def submit(db: Connection, tasks: Sequence[tuple[str, str]]) -> None:
    async with db.transaction():  # It takes all, or none.
        for key in sorted({key for key, _ in tasks}):  # It avoids deadlocks.
            await db.execute(IN_TURN, [key])
        for key, body in tasks:
            await db.execute(INSERT, [key, body])


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker) as db:
        done = 0
        while limit is None or done < limit:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT)
                async for task, body in found:  # It is one, or none.
                    await handle(body)
                    await db.execute("DELETE FROM task WHERE id = %s", [task])
                    done += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    async with connect() as db:
        await declare(db)
        await submit(db, TASKS)
    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    run(main)
