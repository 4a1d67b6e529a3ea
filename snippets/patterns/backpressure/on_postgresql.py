# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Backpressure on PostgreSQL: the insert counts first, a producer waits."""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
POLL_SECONDS = 1  # nobody notifies of a task that a dead worker let go
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]

CREATE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
LOCK = "SELECT pg_advisory_xact_lock(hashtext('task'))"
OFFER = """
INSERT INTO task (body) SELECT %s
WHERE (SELECT count(*) FROM task) < %s"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""


async def declare() -> None:
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute(LOCK)
        await db.execute(CREATE)


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        confirmed = 0
        for task in tasks:
            pause, deadline = 0.05, time.monotonic() + patience
            while not await offer(db, task):
                if time.monotonic() > deadline:
                    return confirmed  # the caller decides about the rest
                # At random: producers must not all come back at once.
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
            confirmed += 1
        return confirmed


async def offer(db: AsyncConnection, task: str) -> bool:
    async with db.transaction():
        # One producer at a time: two would both see the last free place.
        await db.execute(LOCK)
        added = await db.execute(OFFER, [task, LIMIT])
        await db.execute("NOTIFY task")  # sent with the commit
    return added.rowcount == 1  # a full table is no error: it adds nothing


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with AsyncExitStack() as stack:
        # A lock lives as long as its transaction, and a connection has one
        # transaction at a time: each task that is held needs its own.
        idle: list[AsyncConnection] = []
        for _ in range(prefetch):
            db = await AsyncConnection.connect(URL, application_name=worker)
            idle.append(await stack.enter_async_context(db))
        held: deque[tuple[AsyncConnection, TupleRow]] = deque()
        listener = idle[0]
        await listener.execute("LISTEN task")
        await listener.commit()
        done = 0
        while limit is None or done < limit:
            while idle and (task := await lock_next(idle[-1])):
                held.append((idle.pop(), task))
            if not held:
                async for _ in listener.notifies(
                    timeout=POLL_SECONDS, stop_after=1
                ):
                    pass
                continue
            db, (number, body) = held.popleft()
            await handle(body)
            await db.execute("DELETE FROM task WHERE id = %s", [number])
            await db.commit()
            idle.append(db)
            done += 1


async def lock_next(db: AsyncConnection) -> TupleRow | None:
    task = await (await db.execute(LOCK_NEXT)).fetchone()
    if task is None:
        await db.rollback()  # an idle worker keeps no transaction open
    return task


async def main() -> None:
    await declare()
    confirmed = await submit(TASKS, patience=0.2)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
