"""A connection to PostgreSQL that waits for nothing for ever.

psycopg has no time limit on an answer, and TCP has none while the other side
acknowledges: a server that hangs, or a proxy that has lost its other end,
would hold a worker for ever. Nothing here connects again: an error ends the
work, and whoever began it calls `connect()` once more.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from psycopg import (
    AsyncConnection,
    AsyncTransaction,
    OperationalError,
    ProgrammingError,
)
from psycopg.rows import TupleRow

URL = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
ANSWER_SECONDS = 20  # more than the longest statement, or wait for a lock


Connection = AsyncConnection[TupleRow]
Demonstration = Callable[[], Coroutine[Any, Any, None]]


class Impatient(Connection):
    user: asyncio.Task[Any] | None = None  # Its transaction is open.

    @asynccontextmanager
    async def transaction(
        self, *its: Any, **more: Any
    ) -> AsyncIterator[AsyncTransaction]:
        """Refuse one inside another task's: its end may roll it back."""
        before, task = self.user, asyncio.current_task()
        if before not in (None, task):
            raise ProgrammingError(
                "another task's transaction is open here: connect() for each"
            )
        self.user = task
        try:
            async with super().transaction(*its, **more) as transaction:
                yield transaction
        finally:
            self.user = before

    async def wait(self, *work: Any, **options: Any) -> Any:
        """Wait for the server's answer to whatever was sent to it."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await super().wait(*work, **options)
        except TimeoutError:
            # psycopg has asked the server in vain to cancel, and has closed.
            raise OperationalError("PostgreSQL does not answer") from None


@asynccontextmanager
async def connect(name: str = "") -> AsyncIterator[Connection]:
    """Open a connection, and close it; `pg_stat_activity` shows the name.

    Each statement commits by itself, unless it is in a `db.transaction()`.
    """
    async with await Impatient.connect(
        URL,
        application_name=name,
        autocommit=True,
        connect_timeout=10,
        # psycopg prepares what it has sent five times. A pooler may give the
        # next transaction to another session, which knows nothing of it.
        prepare_threshold=None,
    ) as db:
        yield db


async def create(db: Connection, tables: str) -> None:
    """Make the tables that are missing, all of them or none."""
    async with db.transaction():
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('create'))")
        await db.execute(tables)


def with_database(main: Demonstration) -> Demonstration:
    """Let a demonstration end with one line if there is no PostgreSQL."""

    async def demonstration() -> None:
        try:
            async with connect():
                pass
        except OperationalError as error:
            # The server's words alone: an address may have a password.
            raise SystemExit(
                f"no PostgreSQL ({str(error).splitlines()[0]}): "
                "docker compose up --wait postgresql starts it, "
                "or make brokers ONLY=postgresql"
            ) from error
        await main()

    return demonstration


def run(main: Demonstration) -> None:
    """Run a demonstration, or end with one line if there is no server."""
    asyncio.run(with_database(main)())
