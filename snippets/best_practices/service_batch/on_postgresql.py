# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""A batch with partial failure on PostgreSQL: a savepoint for each try."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, connect, create, run

BATCH, POLL_SECONDS = 4, 1
VIEWS = ["cat", "dog", "owl", "fox", "elk", "?", "bee", "hen"]
TABLES = """
CREATE TABLE IF NOT EXISTS view (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
CREATE TABLE IF NOT EXISTS dead_view (
    id bigint PRIMARY KEY, body text NOT NULL, reason text NOT NULL)"""
LOCK_NEXT = """
SELECT id, body FROM view ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""
BURY = "INSERT INTO dead_view VALUES (%s, %s, %s)"

Store = Callable[[list[str]], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLES)


async def publish(db: Connection, views: Sequence[str]) -> None:
    await db.cursor().executemany(
        "INSERT INTO view (body) VALUES (%s)", [[view] for view in views]
    )


async def work(store: Store) -> None:
    """Give batches to `store`, which keeps all of one or raises, or both."""
    async with connect("counter") as db:
        while True:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT, [BATCH])
                batch = await found.fetchall()
                try:
                    # A savepoint: what `store` writes with this connection
                    # is undone if it raises, and the rows stay locked.
                    async with db.transaction():
                        if batch:
                            await store([body for _, body in batch])
                except ValueError:  # One of them is bad, but which?
                    for number, body in batch:
                        try:
                            async with db.transaction():
                                await store([body])
                        except ValueError as error:
                            await db.execute(BURY, [number, body, str(error)])
                await db.execute(
                    "DELETE FROM view WHERE id = ANY(%s)",
                    [[number for number, _ in batch]],
                )
            if not batch:
                await asyncio.sleep(POLL_SECONDS)


async def dead(db: Connection) -> list[str]:
    rows = await db.execute("SELECT body FROM dead_view")
    return [body for (body,) in await rows.fetchall()]


async def main() -> None:
    async def store(views: list[str]) -> None:
        if "?" in views:
            raise ValueError("not a video: ?")
        stored.put_nowait("stored " + " ".join(views))

    stored = asyncio.Queue[str]()
    async with connect() as db:
        await declare(db)
        await publish(db, VIEWS)
        worker = asyncio.create_task(work(store))
        async with asyncio.timeout(60):
            for _ in range(4):  # It sends one batch, and three of the other.
                print(await stored.get())
        await asyncio.sleep(3)  # It settles, on a busy machine too.
        print("dead:", *await dead(db))
        worker.cancel()
        await asyncio.wait([worker])


if __name__ == "__main__":
    run(main)
