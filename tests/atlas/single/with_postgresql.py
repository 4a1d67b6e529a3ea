"""A queue table on PostgreSQL, for the trials."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from tests.brokers import Server

CREATE = (
    "CREATE TABLE tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)"
)
#: In the transaction of the work: another worker skips what this one has.
TAKE = "SELECT id, body FROM tasks ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
ACKNOWLEDGE = "DELETE FROM tasks WHERE id = %s"


def connect(server: Server) -> psycopg.Connection:
    """Open a connection whose statements are committed one by one, outside of `transaction()`."""
    return psycopg.connect(server.address, autocommit=True)


def declare(connection: psycopg.Connection) -> None:
    connection.execute(CREATE)


def publish(connection: psycopg.Connection, *bodies: str) -> None:
    """Insert the messages, each in a commit of its own."""
    for body in bodies:
        connection.execute("INSERT INTO tasks (body) VALUES (%s)", [body])


def take(connection: psycopg.Connection) -> tuple[int, str] | None:
    """Lock the oldest message that nobody has; a transaction has to be open, to hold it."""
    row = connection.execute(TAKE).fetchone()
    return (row[0], row[1]) if row else None


def acknowledge(connection: psycopg.Connection, number: int) -> None:
    connection.execute(ACKNOWLEDGE, [number])


def work(connection: psycopg.Connection) -> str | None:
    """Take one message, and acknowledge it; return its body."""
    with connection.transaction():
        if (taken := take(connection)) is None:
            return None
        acknowledge(connection, taken[0])
        return taken[1]


def waiting(connection: psycopg.Connection) -> list[str]:
    """Return the bodies of all that is in the table, the oldest first."""
    rows: Iterable[tuple[str]] = connection.execute("SELECT body FROM tasks ORDER BY id")
    return [body for (body,) in rows]
