# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Several handlers at once on PostgreSQL: a transaction for each task."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

AT_ONCE = 4
POLL_SECONDS = 1
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

TABLES = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""

Handler = Callable[[str], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def submit(db: Connection, tasks: Sequence[str]) -> None:
    await db.cursor().executemany(
        "INSERT INTO task (body) VALUES (%s)", [[task] for task in tasks]
    )


async def _safely(handle: Handler, name: str) -> None:
    try:
        await handle(name)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # the worker is to end
            raise
        # A TaskGroup would let that pass, and go on without this handler.
        raise RuntimeError(f"cancelled in its handler: {name}") from error


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    async def take_turns() -> None:
        # A lock lives as long as its transaction, and a connection has one
        # transaction at a time: each handler needs its own connection.
        async with connect("transcoder") as db:
            while True:
                async with db.transaction():
                    task = await (await db.execute(LOCK_NEXT)).fetchone()
                    if task:
                        number, body = task
                        await _safely(handle, body)
                        await db.execute(
                            "DELETE FROM task WHERE id = %s", [number]
                        )
                if not task:
                    await asyncio.sleep(POLL_SECONDS)

    try:
        async with asyncio.TaskGroup() as handlers:
            for _ in range(at_once):
                handlers.create_task(take_turns())
    except ExceptionGroup as failed:  # the first of them is the cause
        raise failed.exceptions[0] from None


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as db:
        await declare(db)
        await submit(db, TASKS)
    for count in (3, AGAIN):
        worker = asyncio.create_task(work(transcode))
        async with asyncio.timeout(60):
            tasks = sorted([await done.get() for _ in range(count)])
        print("a worker did", *tasks)
        await asyncio.sleep(3)  # It acknowledges, on a busy machine too.
        worker.cancel()  # This is as if its process ended.
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    run(main)
