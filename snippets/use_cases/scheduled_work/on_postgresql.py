# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Scheduled work on PostgreSQL: what is due becomes a task, once."""

import asyncio
from datetime import UTC, datetime, timedelta

from database import Connection, connect, create
from database import run as demonstrate

LONGEST_WAIT = 5.0  # seconds; a notification can be missed

TABLES = """
CREATE TABLE IF NOT EXISTS schedule (
    name text PRIMARY KEY, run_at timestamptz NOT NULL,
    every interval CHECK (every > '0'), zone text NOT NULL,
    first timestamp NOT NULL, step int NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS schedule_run_at ON schedule (run_at);
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"""
# The name is the key: to schedule it again moves it, and makes no second one.
PUT = """
INSERT INTO schedule (name, run_at, every, zone, first) VALUES (
    %(name)s, %(at)s, %(every)s, %(zone)s, %(at)s AT TIME ZONE %(zone)s)
ON CONFLICT (name) DO UPDATE SET run_at = excluded.run_at, step = 0,
    every = excluded.every, zone = excluded.zone, first = excluded.first"""
NEXT_DUE = """
SELECT name, every FROM schedule WHERE run_at <= now()
ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED"""
# The next time that is not over yet: what was missed runs once, not n times.
# Counted from the first time, by the clock of its zone: a month, or a day on
# which the clocks change, is not always of the same length.
MOVE_ON = """
UPDATE schedule SET (step, run_at) = (
    SELECT n, at FROM generate_series(step + 1, step + 3 + (1.1 *
        extract(epoch FROM now() - run_at) / extract(epoch FROM every))::int
    ) n, date_add(first AT TIME ZONE zone, n * every, zone) AS next (at)
    WHERE at > now() ORDER BY n LIMIT 1)
WHERE name = %s"""
NEXT_WAIT = "SELECT extract(epoch FROM min(run_at) - now()) FROM schedule"


async def put(
    db: Connection,
    name: str,
    at: datetime,
    every: str | None = None,
    zone: str = "UTC",  # for days and months: where whoever waits for it lives
) -> None:
    if at.tzinfo is None:  # the server would take it for its own zone's time
        raise ValueError(f"{at} has no time zone: give it one, such as UTC")
    put = {"name": name, "at": at, "every": every, "zone": zone}
    await db.execute(PUT, put)
    await db.execute("NOTIFY schedule")  # it may be sooner than all others


async def submit_due(db: Connection, crash: bool = False) -> str | None:
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


async def run(limit: int | None = None, crash: bool = False) -> list[str]:
    """Submit what is due, and sleep until the next; run two for safety."""
    submitted: list[str] = []
    async with connect("scheduler") as db:
        await db.execute("LISTEN schedule")
        while limit is None or len(submitted) < limit:
            if name := await submit_due(db, crash):
                submitted.append(name)
                continue
            [[next_due]] = await (await db.execute(NEXT_WAIT)).fetchall()
            wait = LONGEST_WAIT if next_due is None else float(next_due)
            wait = min(max(wait, 0.01), LONGEST_WAIT)
            async for _ in db.notifies(timeout=wait, stop_after=1):
                pass
    return submitted


async def main() -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    async with connect() as db:
        await create(db, TABLES)
        await put(db, "publish owl.mp4", now + hour)
        await put(db, "publish owl.mp4", now)  # It is moved, not added.
        await put(db, "send digest", now - 2.5 * hour, every="1 hour")
        print("three digests are overdue; the scheduler crashes")
        try:
            await run(1, crash=True)
        except RuntimeError as error:
            print("  crashed", error)
        for submitted in sorted(await asyncio.gather(run(1), run(1))):
            print("one of two schedulers submitted", *submitted)
        sleeper = asyncio.create_task(run(1))
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        await put(db, "publish cat.mp4", soon)
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
    demonstrate(main)
