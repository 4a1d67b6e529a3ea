# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Delayed retry on PostgreSQL: a column that says when a task is due."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 0.1  # nobody notifies of a task that is due now; usual: 1
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]

CREATE = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL,
    attempt int NOT NULL DEFAULT 1,
    due timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX IF NOT EXISTS task_due ON task (due);
CREATE TABLE IF NOT EXISTS dead_task (
    body text NOT NULL, attempts int NOT NULL)"""
LOCK_NEXT = """
SELECT id, body, attempt FROM task WHERE due <= now()
ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED"""
# Not now(): that is when the transaction began, and the attempt with it.
PARK = """
UPDATE task SET attempt = attempt + 1,
    due = clock_timestamp() + %s * interval '1 second' WHERE id = %s"""
BURY = "INSERT INTO dead_task (body, attempts) VALUES (%s, %s)"

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


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
    async with await AsyncConnection.connect(
        URL, application_name=worker
    ) as db:
        await db.execute("LISTEN task")
        await db.commit()
        while not limit or settled < limit:
            task = await (await db.execute(LOCK_NEXT)).fetchone()
            if task is None:
                await db.rollback()  # an idle worker keeps no transaction open
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
                continue
            task_id, body, number = task
            video, done = "", True
            try:
                video = str(json.loads(body)["video"])
                await handle(video)
            except Exception:
                done = not video or number >= LIMIT
                if done:  # malformed: at once, as no attempt can help
                    await db.execute(BURY, [body, number])
                else:
                    pause = delay(number, RANDOM)
                    await db.execute(PARK, [pause, task_id])
            if done:
                await db.execute("DELETE FROM task WHERE id = %s", [task_id])
                settled += 1
            await db.commit()  # until now, a crash undoes all of it


async def dead() -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    async with await AsyncConnection.connect(URL) as db:
        rows = await db.execute("SELECT body, attempts FROM dead_task")
        return await rows.fetchall()


async def main() -> None:
    await declare()
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(MESSAGES)
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
