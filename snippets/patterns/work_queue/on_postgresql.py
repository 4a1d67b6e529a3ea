# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Work queue on PostgreSQL: a worker's crash unlocks the task it held."""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # nobody notifies of a task that a dead worker let go
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

CREATE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('task'))")
        await db.execute(CREATE)


async def submit(tasks: Sequence[str]) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        await db.cursor().executemany(
            "INSERT INTO task (body) VALUES (%s)", [[task] for task in tasks]
        )
        await db.execute("NOTIFY task")  # sent with the commit


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
            # Not counted: a crash would roll back the counting as well.
            await handle(body, None)
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
    await submit(TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
