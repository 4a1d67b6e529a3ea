"""PostgreSQL: the defaults that a queue in a table meets, asked of a fresh server."""

from __future__ import annotations

import psycopg
import pytest

from tests.brokers import Server
from tests.brokers.postgresql import Postgresql
from tests.brokers.server import wait_until

pytestmark = pytest.mark.broker(Postgresql.key)

DEFAULTS = {
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "max_slot_wal_keep_size": "-1",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "tcp_keepalives_idle": "0",
    "autovacuum_naptime": "1min",
    "autovacuum_vacuum_threshold": "50",
    "autovacuum_vacuum_scale_factor": "0.2",
}


def test_defaults(server: Server) -> None:
    with psycopg.connect(server.address) as db:
        # `tcp_keepalives_idle` shows what the system does; what PostgreSQL asks for is here.
        rows = db.execute(
            "SELECT name, boot_val FROM pg_settings WHERE name = ANY(%s)", [list(DEFAULTS)]
        ).fetchall()
    shown: dict[str, str] = dict(rows)
    assert {name: shown[name] for name in DEFAULTS} == {
        **DEFAULTS,
        "autovacuum_naptime": "60",
    }


def test_a_message_can_be_larger_than_a_notification(server: Server) -> None:
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute("CREATE TABLE task (body bytea)")
        db.execute("INSERT INTO task VALUES (%s)", [b"x" * 50_000_000])
        row = db.execute("SELECT length(body) FROM task").fetchone()
    assert row == (50_000_000,)


def test_psycopg_opens_a_transaction_with_the_first_select(server: Server) -> None:
    with psycopg.connect(server.address) as db, psycopg.connect(server.address) as other:
        db.execute("SELECT 1")
        row = other.execute(
            "SELECT state FROM pg_stat_activity WHERE pid = %s", [db.info.backend_pid]
        ).fetchone()
    assert row == ("idle in transaction",)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_second_receiver_fails_in_a_stricter_transaction(server: Server, level: str) -> None:
    """With the default, it would see that the first has written the id, and write nothing."""
    insert = "INSERT INTO inbox VALUES ('cat-uploaded') ON CONFLICT DO NOTHING"
    with psycopg.connect(server.address) as first, psycopg.connect(server.address) as second:
        first.execute("CREATE TABLE inbox (id text PRIMARY KEY)")
        first.commit()
        second.execute("SET TRANSACTION ISOLATION LEVEL " + level)
        second.execute("SELECT 1")
        first.execute(insert)
        first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure, match="could not serialize access"):
            second.execute(insert)


@pytest.mark.parametrize(
    ("level", "statement", "kept"),
    [
        ("REPEATABLE READ", "SELECT 1", True),
        ("READ COMMITTED", "SELECT 1", False),
        ("READ COMMITTED", "SELECT id FROM held LIMIT 1 FOR UPDATE SKIP LOCKED", True),
        ("READ COMMITTED", "SELECT id FROM held WHERE id = 0 FOR UPDATE SKIP LOCKED", False),
    ],
)
def test_which_open_transaction_keeps_dead_rows(
    server: Server, level: str, statement: str, *, kept: bool
) -> None:
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute("CREATE TABLE held (id int)")
        db.execute("INSERT INTO held VALUES (1)")
        db.execute("CREATE TABLE done (id int)")
        with psycopg.connect(server.address) as other:
            other.execute("SET TRANSACTION ISOLATION LEVEL " + level)
            other.execute(statement)
            # Inserted and deleted after the other began, in a table that it never touched.
            db.execute("INSERT INTO done SELECT generate_series(1, 1000)")
            db.execute("DELETE FROM done")

            def keeps() -> bool:
                db.execute("VACUUM done")
                return db.execute("SELECT pg_relation_size('done') > 0").fetchone() == (True,)

            # The server's own ANALYZE has a transaction as well, for a moment.
            wait_until(lambda: keeps() == kept, "what VACUUM leaves")
