"""PostgreSQL as a child process."""

from __future__ import annotations

import re
import signal
import subprocess

import psycopg

from tests.brokers import debian
from tests.brokers.server import Server
from tests.brokers.versions import printed_by


class Postgresql(Server):
    """PostgreSQL 17 or later. Its defaults stay: commits wait for the disk."""

    key = "postgresql"
    stop_signal = signal.SIGINT

    @classmethod
    def on_machine(cls) -> bool:
        found = re.search(r"\) (\d[\d.]*)", printed_by("postgres", "--version"))
        return (
            found is not None and cls.taught(found[1]) and bool(printed_by("initdb", "--version"))
        )

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has("postgres")

    def prepare(self) -> None:
        self.port_number = self.port(5432)
        self.database = self.data / "database"
        subprocess.run(
            self.source.command(
                "initdb",
                *("-D", str(self.database), "-U", "postgres", "-A", "trust"),
                *("--no-sync", "--no-locale", "-E", "UTF8"),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def command(self) -> list[str]:
        return self.source.command(
            "postgres",
            *("-D", str(self.database), "-p", str(self.port_number), "-k", str(self.data)),
            *("-c", "listen_addresses=127.0.0.1"),
            # What logical decoding needs, for change data capture; it is no default.
            *("-c", "wal_level=logical"),
        )

    def ready(self) -> bool:
        try:
            psycopg.connect(self.address, connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def own_address(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port_number}/postgres"

    def version(self) -> str:
        with psycopg.connect(self.address) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row
        return f"PostgreSQL {row[0].split()[0]}"

    def empty(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(
                # Wait for its end: what it held, a lock or a slot, is free only then.
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            # A slot outlives the program that made it, and keeps the write-ahead log.
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE NOT active"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
