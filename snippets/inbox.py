"""The inbox of an idempotent receiver: a view counts once, in PostgreSQL."""

import re
from uuid import UUID

from database import Connection, create
from database import connect as connect
from database import with_database as with_database

VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

TABLES = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"


async def create_tables(db: Connection) -> None:
    """Make the tables that are missing; once, before any receiver runs."""
    await create(db, TABLES)


async def count_once(db: Connection, message_id: str, body: bytes) -> str:
    """Commit a view with its id, or neither; say what became of the message.

    Inside a transaction of the caller, it is the caller who commits both.
    """
    async with db.transaction():
        try:
            number, view = UUID(message_id), VIEWED.fullmatch(body)
        except ValueError:
            view = None
        if not view:  # it would fail each time: keep it, and go on
            await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
            return f"refused a message with id {message_id!r}"
        # Another receiver that has just inserted this id makes us wait.
        new = await db.execute(REMEMBER, [number])
        if not new.rowcount:
            return f"dropped a duplicate view of {view[1].decode()}"
        await db.execute(COUNT, [view[1].decode()])
        return f"counted a view of {view[1].decode()}"


async def views(db: Connection) -> dict[str, int]:
    """Return the count of each video."""
    rows = await db.execute("SELECT video, count FROM views")
    return dict(await rows.fetchall())


async def refused(db: Connection) -> list[str]:
    """Return what was kept aside, as text."""
    rows = await db.execute("SELECT message FROM refused ORDER BY 1")
    return [message for (message,) in await rows.fetchall()]
