"""What safety costs on PostgreSQL: synchronous_commit, and how many rows a commit has."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from tests.benchmarks.measure import (
    BATCHES,
    BODY,
    IN_FLIGHT,
    ONE_BY_ONE,
    Benchmark,
    Publisher,
    Publishers,
    Setting,
)
from tests.brokers import Server


@asynccontextmanager
async def table(synchronous_commit: str, server: Server, name: str, lanes: int) -> Publishers:
    """Insert rows; a connection has one transaction at a time, so each lane has its own."""
    options = f"-c synchronous_commit={synchronous_commit}"
    body, queue = BODY.decode(), Identifier(name)
    insert = SQL("INSERT INTO {} (body) VALUES (%s)").format(queue)
    connections = [
        await AsyncConnection.connect(server.address, autocommit=True, options=options)
        for _ in range(lanes)
    ]
    first = connections[0]
    columns = SQL("(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)")
    await first.execute(SQL("CREATE TABLE {} {}").format(queue, columns))

    async def confirmed(lane: int) -> None:
        await connections[lane].execute(insert, [body])

    async def batch(size: int) -> None:
        async with first.transaction():
            await first.cursor().executemany(insert, [[body]] * size)

    async def stored() -> int:
        row = await (await first.execute(SQL("SELECT count(*) FROM {}").format(queue))).fetchone()
        assert row
        return int(row[0])

    try:
        yield Publisher(stored, confirmed, batch)
        await first.execute(SQL("DROP TABLE {}").format(queue))
    finally:
        for connection in connections:
            await connection.close()


synchronous = partial(table, "on")
asynchronous = partial(table, "off")

ON = "synchronous_commit on: fsynced"
OFF = "synchronous_commit off: in memory"

BENCHMARK = Benchmark(
    "postgresql",
    [
        Setting(ON, ONE_BY_ONE, 300, synchronous),
        Setting(ON, BATCHES, 2000, synchronous),
        Setting(ON, IN_FLIGHT, 1000, synchronous),
        Setting(OFF, ONE_BY_ONE, 300, asynchronous),
        Setting(OFF, BATCHES, 2000, asynchronous),
        Setting(OFF, IN_FLIGHT, 1000, asynchronous),
    ],
)
