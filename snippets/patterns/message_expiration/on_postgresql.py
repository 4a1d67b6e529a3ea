# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Message expiration on PostgreSQL: what is too late is never selected."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # nobody notifies of a task that a dead worker let go

CREATE = """
CREATE TABLE IF NOT EXISTS push (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL,
    expires timestamptz NOT NULL)"""
# clock_timestamp(), as now() is the time at which the transaction began.
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


async def declare() -> None:
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('push'))")
        await db.execute(CREATE)


async def submit(tasks: Sequence[str], seconds: float) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        rows = [[task, seconds] for task in tasks]
        await db.cursor().executemany(INSERT, rows)
        await db.execute("NOTIFY push")  # sent with the commit


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with await AsyncConnection.connect(
        URL, application_name=worker
    ) as db:
        await db.execute("LISTEN push")
        await db.commit()
        done = 0
        while done != limit:
            row = await (await db.execute(LOCK_NEXT)).fetchone()
            if row is None:
                await db.execute(SWEEP)
                await db.commit()
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
                continue
            number, body = row
            await handle(body)
            await db.execute("DELETE FROM push WHERE id = %s", [number])
            await db.commit()
            done += 1


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    await submit(["push: cat.mp4 is live"], seconds=60)
    await submit(["push: dog.mp4 starts now"], seconds=1)
    print("no worker for two seconds")
    await asyncio.sleep(2)
    await submit(["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
