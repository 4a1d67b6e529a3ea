"""PostgreSQL: the defaults that a queue in a table meets, asked of a fresh server."""

from __future__ import annotations

import psycopg
import pytest

from tests.brokers import Server
from tests.brokers.postgresql import Postgresql

pytestmark = pytest.mark.broker(Postgresql.key)

DEFAULTS = {
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
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
