"""PostgreSQL: a table as the queue, and whether a commit waits for a disk and for a standby."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import ClassVar

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from tests.atlas.asked import QUEUE, Asked, Setting
from tests.atlas.load import UselessError
from tests.atlas.questions import Question
from tests.brokers.cluster.machines import Machine
from tests.brokers.cluster.postgresql import PostgresqlCluster, connected

#: After so many seconds of silence, an operator or a program promotes a standby.
WATCH = 3.0
#: The faults that leave both standbys, and none of them a primary.
PROMOTED = {"leader-killed", "leader-frozen", "leader-cut-off", "leader-unheard", "leader-power"}
STANDBYS = "ANY 1 (n1, n2, n3)"
#: What the servers are configured with, by a setting's key.
OPTIONS = {
    "off": {"synchronous_commit": "off"},
    "async": {},
    "sync": {"synchronous_standby_names": STANDBYS},
}


class PostgresqlConnection:
    """A producer's connection to the primary; each message is a transaction."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def publish(self, message: int) -> None:
        if self._connection.closed:
            raise UselessError("not connected")
        insert = self._connection.execute(
            f"INSERT INTO {QUEUE} (message) VALUES (%s)",
            (message,),
        )
        try:
            # A call that is cancelled has the server asked to cancel it too, and waits for that.
            await asyncio.shield(insert)
        except ReadOnlySqlTransaction:
            raise UselessError("read only") from None

    async def close(self) -> None:
        """Close it under the calls that still wait: they end with an error."""
        if not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as under:
                under.shutdown(socket.SHUT_RDWR)
        await self._connection.close()


class AskedPostgresql(Asked):
    """PostgreSQL: it never changes its primary by itself, so an operator does."""

    key = "postgresql"
    client = "psycopg"
    settings = (
        Setting("off", "`synchronous_commit = off`"),
        Setting("async", "`synchronous_standby_names` empty", default=True),
        Setting("sync", f"`synchronous_standby_names = '{STANDBYS}'`", safe=True),
    )
    by_hand: ClassVar = {
        **dict.fromkeys(
            sorted(PROMOTED),
            f"The operator promotes a standby {WATCH:g} s after the fault has begun, has the other"
            " one follow it, and afterwards makes the old primary a standby.",
        ),
        **dict.fromkeys(
            ("flapping", "rolling-restart"),
            "Nobody promotes a standby: the primary is back soon.",
        ),
        "node-replaced": "The operator copies the primary to the empty server (`pg_basebackup -R`),"
        " and starts it as a standby.",
    }
    cluster: PostgresqlCluster

    def make(self, machines: Mapping[int, Machine]) -> PostgresqlCluster:
        return PostgresqlCluster(machines, **OPTIONS[self.setting])

    async def declare(self) -> None:
        async with await connected(await self.cluster.leader(QUEUE)) as connection:
            await connection.execute(
                f"CREATE TABLE {QUEUE} (id bigint GENERATED ALWAYS AS IDENTITY, message int)"
            )
        await self.cluster.whole()

    async def connect(self, number: int) -> PostgresqlConnection:
        return PostgresqlConnection(await connected(number, "read-write"))

    async def operate(self, question: Question, leader: int) -> None:  # noqa: ARG002
        if question.key in PROMOTED:
            await asyncio.sleep(WATCH)
            await self.cluster.promote()

    async def read(self) -> list[int]:
        async with await connected(await self.cluster.leader(QUEUE)) as connection:
            rows = await connection.execute(f"SELECT message FROM {QUEUE} ORDER BY id")
            return [message for (message,) in await rows.fetchall()]
