# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Backpressure on PostgreSQL: the insert counts first, a producer waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
POLL_SECONDS = 0.1  # usual: 1
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]

TABLE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
# One producer at a time: two would both see the last free place.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('task'))"
OFFER = """
INSERT INTO task (body) SELECT %s
WHERE (SELECT count(*) FROM task) < %s"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""


async def declare(db: Connection) -> None:
    await create(db, TABLE)


async def submit(
    db: Connection, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    for confirmed, task in enumerate(tasks):
        deadline = time.monotonic() + patience
        while not await offer(db, task):
            if time.monotonic() > deadline:
                return confirmed  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(0.05, 0.2))
    return len(tasks)


async def offer(db: Connection, task: str) -> bool:
    async with db.transaction():
        await db.execute(LOCK)
        added = await db.execute(OFFER, [task, LIMIT])
    return added.rowcount == 1  # a full table is no error: it adds nothing


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker) as db:
        done = 0
        while limit is None or done < limit:
            most = prefetch if limit is None else min(prefetch, limit - done)
            async with db.transaction():  # a crash repeats all that it holds
                held = await db.execute(LOCK_NEXT, [most])
                async for task, body in held:
                    await handle(body)
                    await db.execute("DELETE FROM task WHERE id = %s", [task])
                    done += 1
            if not held.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def show(task: str) -> None:
        print(f"done: {task}")

    async with connect() as db:
        await declare(db)
        taken = await submit(db, TASKS, patience=0.2)
        print(f"confirmed {taken} of {len(TASKS)} tasks: the queue is full")
        await work("A", show, limit=1)
        taken = await submit(db, TASKS[taken:], patience=0.2)
        print(f"worker A has made room: confirmed {taken} more")


if __name__ == "__main__":
    run(main)
