# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Dead letter channel on PostgreSQL: a table, in the same transaction."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # nobody notifies of a task that a dead worker let go
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

CREATE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
CREATE TABLE IF NOT EXISTS attempt (
    task bigint PRIMARY KEY, number int NOT NULL);
CREATE TABLE IF NOT EXISTS dead_task (
    body text NOT NULL, reason text NOT NULL, attempts int NOT NULL,
    died timestamptz NOT NULL DEFAULT now())"""
LOCK_NEXT = """
SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""
COUNT = """
INSERT INTO attempt AS a VALUES (%s, 1)
ON CONFLICT (task) DO UPDATE SET number = a.number + 1 RETURNING number"""
REMOVE = """
WITH gone AS (DELETE FROM task WHERE id = %(id)s)
DELETE FROM attempt WHERE task = %(id)s"""
BURY = "INSERT INTO dead_task (body, reason, attempts) VALUES (%s, %s, %s)"
LOOK = "SELECT body, reason, attempts FROM dead_task ORDER BY died"
REDRIVE = """
WITH gone AS (DELETE FROM dead_task RETURNING *),
back AS (INSERT INTO task (body) SELECT body FROM gone ORDER BY died)
SELECT body, reason, attempts, pg_notify('task', '') FROM gone"""

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('task'))")
        await db.execute(CREATE)


async def submit(messages: Sequence[str]) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        await db.cursor().executemany(
            "INSERT INTO task (body) VALUES (%s)", [[one] for one in messages]
        )
        await db.execute("NOTIFY task")  # sent with the commit


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    async with (
        await AsyncConnection.connect(URL, application_name=worker) as db,
        # Counts outside the transaction that a crash would roll back.
        await AsyncConnection.connect(URL, autocommit=True) as counter,
    ):
        await counter.execute("LISTEN task")
        while not limit or settled < limit:
            task = await (await db.execute(LOCK_NEXT)).fetchone()
            if task is None:
                await db.rollback()
                async for _ in counter.notifies(
                    timeout=POLL_SECONDS, stop_after=1
                ):
                    pass
                continue
            task_id, body = task
            [[number]] = await (
                await counter.execute(COUNT, [task_id])
            ).fetchall()
            video = ""
            try:
                if number > LIMIT:  # its workers died, and could not say why
                    raise TimeoutError("no answer to the last attempt")
                video = str(json.loads(body)["video"])
                await handle(video)
            except Exception as error:
                if video and number < LIMIT:
                    await db.rollback()  # unlocks the task
                    continue
                why = repr(error)[:200]
                await db.execute(BURY, [body, why, min(number, LIMIT)])
            await db.execute(REMOVE, {"id": task_id})
            await db.commit()  # the dead letter and the removal are one
            settled += 1


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    async with await AsyncConnection.connect(URL) as db:
        rows = await db.execute(REDRIVE if redrive else LOOK)
        return await rows.fetchall()


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
