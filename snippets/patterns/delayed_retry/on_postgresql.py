# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Delayed retry on PostgreSQL: a column that says when a task is due."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()

TABLES = """
CREATE TABLE IF NOT EXISTS task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body text NOT NULL, headers jsonb NOT NULL DEFAULT '{}',
    attempt int NOT NULL DEFAULT 1,
    due timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS dead_task (LIKE task, origin text NOT NULL)"""
LOCK_NEXT = """
SELECT id, body, attempt FROM task WHERE due <= now()
ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED"""
# now() would be when the transaction began, and the attempt with it.
PARK = """
UPDATE task SET attempt = attempt + 1,
    due = clock_timestamp() + %s * interval '1 second' WHERE id = %s"""
# The dead letter keeps the id and the headers of its task.
BURY = "INSERT INTO dead_task SELECT *, 'task' FROM task WHERE id = %s"

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def submit(db: Connection, messages: Sequence[str]) -> None:
    async with db.transaction():  # It takes all, or none.
        for body in messages:
            await db.execute("INSERT INTO task (body) VALUES (%s)", [body])


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    async with connect(worker) as db:
        while not limit or settled < limit:
            async with db.transaction():  # a crash undoes all of it
                found = await db.execute(LOCK_NEXT)
                async for task, body, number in found:  # It is one, or none.
                    video = ""
                    try:
                        video = str(json.loads(body)["video"])
                        await handle(video)
                    except Exception:
                        if video and number < LIMIT:
                            pause = delay(number, RANDOM)
                            await db.execute(PARK, [pause, task])
                            continue
                        # Malformed: at once, as no attempt can help.
                        await db.execute(BURY, [task])
                    await db.execute("DELETE FROM task WHERE id = %s", [task])
                    settled += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def dead(db: Connection) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    rows = await db.execute("SELECT body, attempt FROM dead_task")
    return await rows.fetchall()


async def main() -> None:
    async def transcode(video: str) -> None:
        print(f"tried {video}")
        raise ConnectionError("the store is away")

    async with connect() as db:
        await declare(db)
        await submit(db, ['{"video": "dog"}', "video=owl"])
        await work("A", transcode, limit=2)
        print("dead:", *sorted(await dead(db)), sep="\n  ")


if __name__ == "__main__":
    run(main)
