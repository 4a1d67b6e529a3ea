# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Partitioned consumers on PostgreSQL: each key is a partition of its own."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # nobody notifies of a task that a dead worker let go
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

CREATE = """
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


async def declare(partitions: int = 2) -> None:
    del partitions  # a worker locks a key, so there is nothing to divide
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('task'))")
        await db.execute(CREATE)


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        for key in sorted({key for key, _ in tasks}):  # sorted: no deadlock
            await db.execute(IN_TURN, [key])
        await db.cursor().executemany(INSERT, tasks)
        await db.execute("NOTIFY task")  # sent with the commit


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with await AsyncConnection.connect(
        URL, application_name=worker
    ) as db:
        await db.execute("LISTEN task")
        await db.commit()
        done = 0
        while limit is None or done < limit:
            found = await (await db.execute(LOCK_NEXT)).fetchone()
            if found:
                number, body = found
                await handle(body)
                await db.execute("DELETE FROM task WHERE id = %s", [number])
                await db.execute("NOTIFY task")  # the key's next task is free
                await db.commit()
                done += 1
            else:
                await db.rollback()  # keep no transaction open while idle
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    asyncio.run(main())
