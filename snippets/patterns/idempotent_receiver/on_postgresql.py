# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on PostgreSQL: the queue is in the same database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from database import Connection, connect, create, run
from inbox import count_once, create_tables, refused, views

POLL_SECONDS = 0.1  # usual: 1

TABLE = """
CREATE TABLE IF NOT EXISTS queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL, body bytea NOT NULL)"""
ADD = "INSERT INTO queue (message_id, body) VALUES (%s, %s)"
NEXT = """
SELECT id, message_id, body FROM queue
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""
DELETE = "DELETE FROM queue WHERE id = %s"

Handler = Callable[[str], Awaitable[None]]


async def declare(db: Connection) -> None:
    await create(db, TABLE)
    await create_tables(db)


async def publish(db: Connection, events: Sequence[tuple[str, str]]) -> None:
    async with db.transaction():  # It takes all, or none.
        for message_id, event in events:
            await db.execute(ADD, [message_id, event.encode()])


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver) as db:
        done = 0
        while limit is None or done < limit:
            # The view, its id and the end of its message: all, or none.
            async with db.transaction():
                found = await db.execute(NEXT)
                async for number, message_id, body in found:  # one, or none
                    await handle(await count_once(db, message_id, body))
                    await db.execute(DELETE, [number])
                    done += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def crash(what: str) -> None:
        raise RuntimeError(what)

    async def show(what: str) -> None:
        print(f"A {what}")

    async with connect() as db:
        await declare(db)
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(db, [view, view])  # Its confirm got lost: try again.
        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")
        await receive("A", show, limit=2)
        second = str(uuid4()), "viewed cat.mp4"
        await publish(db, [("17", "viewed cat.mp4"), second])
        await receive("A", show, limit=2)
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(main)
