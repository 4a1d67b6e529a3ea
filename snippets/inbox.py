"""The inbox of an idempotent receiver: a view counts once, in PostgreSQL."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, OperationalError

DATABASE = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
ANSWER_SECONDS = 20  # how long an answer of the database may take
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

CREATE = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
# Else a receiver that vanishes here keeps its locks until the server's
# kernel gives its connection up: after two hours.
LIMIT = "SET LOCAL idle_in_transaction_session_timeout = '30s'"
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"


class Connection(AsyncConnection):
    async def wait(self, *work: Any, **options: Any) -> Any:
        """Give up, where psycopg waits for ever for a server that hangs."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await super().wait(*work, **options)
        except TimeoutError:
            raise OperationalError("PostgreSQL does not answer") from None


@asynccontextmanager
async def connect() -> AsyncIterator[AsyncConnection]:
    """Open a connection that commits each statement, or each transaction."""
    async with await Connection.connect(
        DATABASE,
        autocommit=True,
        connect_timeout=10,
        prepare_threshold=None,  # a pooler may change the session in between
    ) as db:
        yield db


async def create_tables(db: AsyncConnection) -> None:
    """Make the tables that are missing; once, before any receiver runs."""
    await db.execute(CREATE)


async def count_once(db: AsyncConnection, message_id: str, body: bytes) -> str:
    """Commit a view with its id, or neither; say what became of the message.

    Inside a transaction of the caller, it is the caller who commits both.
    """
    async with db.transaction():
        await db.execute(LIMIT)
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


async def views(db: AsyncConnection) -> dict[str, int]:
    """Return the count of each video."""
    rows = await db.execute("SELECT video, count FROM views")
    return dict(await rows.fetchall())


async def refused(db: AsyncConnection) -> list[str]:
    """Return what was kept aside, as text."""
    rows = await db.execute("SELECT message FROM refused ORDER BY 1")
    return [message for (message,) in await rows.fetchall()]
