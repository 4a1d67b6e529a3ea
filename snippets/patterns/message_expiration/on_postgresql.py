# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Message expiration on PostgreSQL: what is too late is never selected."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1

TABLE = """
CREATE TABLE IF NOT EXISTS push (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL,
    expires timestamptz NOT NULL)"""
# It is clock_timestamp(), as now() is when the transaction began.
INSERT = """
INSERT INTO push (body, expires)
VALUES (%s, clock_timestamp() + make_interval(secs => %s))"""
LOCK_NEXT = """
SELECT id, body FROM push WHERE expires > clock_timestamp()
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""
# Who expired is not selected, and has to be swept out.
SWEEP = """
DELETE FROM push WHERE id IN (
    SELECT id FROM push WHERE expires <= clock_timestamp()
    LIMIT 1000 FOR UPDATE SKIP LOCKED)"""

Handler = Callable[[str], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLE)


async def submit(db: Connection, tasks: Sequence[str], seconds: float) -> None:
    async with db.transaction():  # It takes all, or none.
        for task in tasks:
            await db.execute(INSERT, [task, seconds])


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker) as db:
        done = 0
        while done != limit:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT)
                async for task, body in found:  # It is one, or none.
                    await handle(body)
                    await db.execute("DELETE FROM push WHERE id = %s", [task])
                    done += 1
            if not found.rowcount:
                await db.execute(SWEEP)
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    async with connect() as db:
        await declare(db)
        await submit(db, ["push: cat.mp4 is live"], seconds=60)
        await submit(db, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(db, ["push: owl.mp4 is live"], seconds=60)
        await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
