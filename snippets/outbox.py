"""The outbox of a service: its uploads and their events, in PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database import Connection, create
from database import connect as connect
from database import with_database as with_database

BATCH = 10  # events that a crash may publish again
CONFIRM_SECONDS = 10.0  # for a batch; a stuck broker must not hold locks
POLL_SECONDS = 0.1

TABLES = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO outbox (event) VALUES (%s)"
# Else a relay that vanishes with its batch keeps the next one waiting until
# the server's kernel gives its connection up: after two hours.
LIMIT = "SET LOCAL idle_in_transaction_session_timeout = '15s'"
# No SKIP LOCKED: a second relay waits, and no event overtakes another.
NEXT = "SELECT id, event FROM outbox ORDER BY id LIMIT %s FOR UPDATE"
DELETE = "DELETE FROM outbox WHERE id = ANY(%s)"

Row = tuple[int, str]  # the message id, and the event
Publish = Callable[[Sequence[Row]], Awaitable[None]]


async def create_tables(db: Connection) -> None:
    """Make the tables that are missing; once, before any service runs."""
    await create(db, TABLES)


async def upload(db: Connection, videos: Sequence[str]) -> None:
    """Commit each video with its event: both rows, or none."""
    for video in videos:
        async with db.transaction():
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])


async def move(db: Connection, publish: Publish) -> int:
    """Publish a batch, then commit its deletion; return how many events.

    `publish` returns when the broker has confirmed them all, or raises.
    """
    async with db.transaction():
        await db.execute(LIMIT)
        rows = await (await db.execute(NEXT, [BATCH])).fetchall()
        if rows:
            # The broker confirms before this transaction commits: a crash may
            # repeat events, and loses none.
            try:
                async with asyncio.timeout(CONFIRM_SECONDS):
                    await publish(rows)
            except TimeoutError as error:
                why = str(error) or f"no answer in {CONFIRM_SECONDS:g} s"
                raise TimeoutError(f"no confirm: {why}") from error
            await db.execute(DELETE, [[number for number, _ in rows]])
        return len(rows)


async def relay(
    db: Connection, publish: Publish, limit: int | None = None
) -> None:
    """Move batch after batch, for ever or until `limit` events are moved."""
    done = 0
    while limit is None or done < limit:
        moved = await move(db, publish)
        done += moved
        if not moved:
            await asyncio.sleep(POLL_SECONDS)
