# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Scheduled work on PostgreSQL: what is due becomes a task, once."""

import asyncio
import os
from datetime import timedelta

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
LONGEST_WAIT = 5.0  # seconds; a notification can be missed

CREATE = """
CREATE TABLE schedule (
    name text PRIMARY KEY,
    run_at timestamptz NOT NULL,
    every interval);
CREATE INDEX ON schedule (run_at);
CREATE TABLE task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
# The name is the key: to schedule it again moves it, and makes no second one.
PUT = """
INSERT INTO schedule VALUES (%s, now() + %s, %s)
ON CONFLICT (name) DO UPDATE
SET run_at = excluded.run_at, every = excluded.every"""
NEXT_DUE = """
SELECT name, every FROM schedule WHERE run_at <= now()
ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED"""
# The next time that is not over yet: what was missed runs once, not n times.
MOVE_ON = """
UPDATE schedule SET run_at = run_at + every * (1 + floor(
    extract(epoch FROM now() - run_at) / extract(epoch FROM every)))
WHERE name = %s"""
NEXT_WAIT = "SELECT extract(epoch FROM min(run_at) - now()) FROM schedule"


async def put(
    name: str, wait: timedelta, every: timedelta | None = None
) -> None:
    async with await AsyncConnection.connect(URL) as db:
        await db.execute(PUT, [name, wait, every])
        await db.execute("NOTIFY schedule")  # it may be sooner than all others


async def submit_due(db: AsyncConnection, crash: bool = False) -> str | None:
    """Turn what is due longest into a task, in one transaction."""
    async with db.transaction():
        due = await (await db.execute(NEXT_DUE)).fetchone()
        if due is None:
            return None
        name, every = due
        await db.execute("INSERT INTO task (body) VALUES (%s)", [name])
        if crash:
            raise RuntimeError(f"while it submitted {name!r}")
        if every:
            await db.execute(MOVE_ON, [name])
        else:
            await db.execute("DELETE FROM schedule WHERE name = %s", [name])
    return str(name)


async def run(limit: int, crash: bool = False) -> list[str]:
    """Submit what is due, and sleep until the next; run two for safety."""
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        await db.execute("LISTEN schedule")
        submitted: list[str] = []
        while len(submitted) < limit:
            if name := await submit_due(db, crash):
                submitted.append(name)
                continue
            next_due = await (await db.execute(NEXT_WAIT)).fetchone()
            seconds = next_due[0] if next_due else None
            wait = LONGEST_WAIT if seconds is None else float(seconds)
            wait = min(max(wait, 0.01), LONGEST_WAIT)
            async for _ in db.notifies(timeout=wait, stop_after=1):
                pass
        return submitted


async def main() -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        await db.execute(CREATE)
        await put("publish owl.mp4", hour)
        await put("publish owl.mp4", -2 * minute)  # moved, not added
        await put("send digest", -2.5 * hour, every=hour)
        print("three digests are overdue; the scheduler crashes")
        try:
            await run(1, crash=True)
        except RuntimeError as error:
            print("  crashed", error)
        for submitted in sorted(await asyncio.gather(run(1), run(1))):
            print("one of two schedulers submitted", *submitted)
        sleeper = asyncio.create_task(run(1))
        await put("publish cat.mp4", timedelta(seconds=0.5))
        print("cat.mp4 is due soon")
        print("a scheduler woke and submitted", *await sleeper)
        tasks = await db.execute("SELECT body FROM task ORDER BY body")
        print("tasks:", [body for (body,) in await tasks.fetchall()])
        waits = await db.execute(
            "SELECT name, round(extract(epoch FROM run_at - now()) / 60)"
            " FROM schedule"
        )
        for name, minutes in await waits.fetchall():
            print(f"next: {name}, in {minutes} minutes")
        await db.execute("DROP TABLE schedule, task")


if __name__ == "__main__":
    asyncio.run(main())
