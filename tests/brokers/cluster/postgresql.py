"""PostgreSQL: a primary and two standbys that stream from it; who leads, an operator decides."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, Machine, address

NETWORK = "10.77.0.0/16"
#: Counts the standbys that are in step.
STREAMING = """\
SELECT count(*) FROM pg_stat_replication
WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_flush_lsn()
"""


async def connected(number: int, attributes: str = "any") -> psycopg.AsyncConnection:
    """Connect to the server on a machine, if it is what `target_session_attrs` asks for."""
    return await psycopg.AsyncConnection.connect(
        f"host={address(number)} user=postgres connect_timeout=10"
        f" target_session_attrs={attributes}",
        autocommit=True,
    )


class PostgresqlCluster(Cluster):
    """`options` are parameters of all three servers."""

    key = "postgresql"

    def __init__(self, machines: Mapping[int, Machine], **options: str) -> None:
        super().__init__(machines)
        self.options = options
        self.primary = NUMBERS[0]
        #: It was the primary, and knows nothing of the new one.
        self.deposed: int | None = None

    async def start(self) -> None:
        first = self.machines[self.primary]
        for machine in self.machines.values():
            parameters = {"listen_addresses": "*", "cluster_name": f"n{machine.number}"}
            # What a standby may lag behind and still catch up.
            parameters |= {"wal_keep_size": "256MB", **self.options}
            program = machine.add(
                "postgresql",
                *("postgres", "-D", str(_database(machine)), "-k", str(machine.data)),
                *(word for name in parameters for word in ("-c", f"{name}={parameters[name]}")),
            )
            # SIGTERM would wait until all clients have gone by themselves.
            program.stop_signal = signal.SIGINT
        first.run(
            *("initdb", "-D", str(_database(first)), "-U", "postgres", "-A", "trust"),
            *("--no-sync", "--no-locale", "-E", "UTF8"),
        )
        with (_database(first) / "pg_hba.conf").open("a") as rules:
            rules.writelines(
                f"host {what} all {NETWORK} trust\n" for what in ("all", "replication")
            )
        first.start()
        await until(lambda: _ask(self.primary, "SELECT 1"), "PostgreSQL's primary to answer")
        for number in NUMBERS:
            if number != self.primary:
                await self._copy(number)
        await self.whole()

    async def _copy(self, number: int) -> None:
        """Make a machine's server a standby of the primary, with a new copy of its data."""
        machine = self.machines[number]
        machine.kill()
        shutil.rmtree(_database(machine), ignore_errors=True)
        await asyncio.to_thread(
            machine.run,
            *("pg_basebackup", "-D", str(_database(machine)), "-R", "-c", "fast", "--no-sync"),
            *("-d", f"host={address(self.primary)} user=postgres"),
        )
        machine.start()

    async def replace(self, number: int) -> None:
        """Make the empty server a standby."""
        await self._copy(number)

    async def promote(self) -> None:
        """Promote the standby that has got most; the other one follows it.

        The old primary is left as it is: whoever still reaches it can write to it.
        """
        received = {
            number: await _ask(number, "SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn")
            for number in NUMBERS
            if number != self.primary
        }
        new = max(received, key=received.__getitem__)
        await _ask(new, "SELECT pg_promote(true, 30)")
        (other,) = received.keys() - {new}
        async with await connected(other) as connection:
            there = sql.Literal(f"host={address(new)} user=postgres")
            await connection.execute(
                sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(there)
            )
            await connection.execute("SELECT pg_reload_conf()")
        self.deposed, self.primary = self.primary, new

    async def whole(self) -> None:
        """Make a deposed primary a standby, as its operator would; wait until both follow."""
        if self.deposed:
            await self._copy(self.deposed)
            self.deposed = None

        async def ready() -> bool:
            return int(await _ask(self.primary, STREAMING)) == len(NUMBERS) - 1

        await until(ready, "PostgreSQL's standbys to have replayed all of the primary's")

    async def leader(self, queue: str) -> int:  # noqa: ARG002 - one primary has all
        return self.primary

    async def version(self) -> str:
        return f"PostgreSQL {str(await _ask(self.primary, 'SHOW server_version')).split()[0]}"


def _database(machine: Machine) -> Path:
    return machine.data / "database"


async def _ask(number: int, question: LiteralString) -> Any:
    """Return the one value that a server answers."""
    async with await connected(number) as connection:
        row = await (await connection.execute(question)).fetchone()
        assert row
        return row[0]
