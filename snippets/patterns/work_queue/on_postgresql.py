# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Work queue on PostgreSQL: a worker's crash unlocks the task it held."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from psycopg.rows import TupleRow

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "fox", "owl")]

TABLES = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def submit(db: Connection, tasks: Sequence[str]) -> None:
    async with db.transaction():  # It takes all, or none.
        for task in tasks:
            await db.execute("INSERT INTO task (body) VALUES (%s)", [task])


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with AsyncExitStack() as stack:
        # A lock lives as long as its transaction, and a connection has one
        # transaction at a time: each task that is held needs its own.
        idle = deque[Connection]()
        for _ in range(prefetch):
            db = await stack.enter_async_context(connect(worker))
            await db.set_autocommit(False)
            idle.append(db)
        held = deque[tuple[Connection, TupleRow]]()
        done = 0
        while limit is None or done < limit:
            while idle and (task := await lock_next(idle[0])):
                held.append((idle.popleft(), task))
            if not held:
                await asyncio.sleep(POLL_SECONDS)
                continue
            db, (number, body) = held.popleft()
            # Nothing counts deliveries: a crash would roll the count back.
            await handle(body, None)
            await db.execute("DELETE FROM task WHERE id = %s", [number])
            await db.commit()
            idle.append(db)
            done += 1


async def lock_next(db: Connection) -> TupleRow | None:
    task = await (await db.execute(LOCK_NEXT)).fetchone()
    if task is None:
        await db.rollback()  # an idle worker keeps no transaction open
    return task


async def main() -> None:
    async with connect() as db:
        await declare(db)
        await submit(db, TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    async def show(task: str, delivery: int | None) -> None:
        print(f"{task}: delivery {delivery or 'not counted'}")

    await work("B", show, limit=len(TASKS))


if __name__ == "__main__":
    run(main)
