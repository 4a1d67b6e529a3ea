# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Change data capture on PostgreSQL: a table's commits become events."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
SLOT = "cdc"
BATCH = 100  # rows; a transaction that has more comes whole all the same
CHANGE = re.compile(r"table public\.video: (INSERT|UPDATE|DELETE): (.*)", re.S)
COLUMN = re.compile(r"(\w+)\[[^]]+\]:(?:'((?:[^']|'')*)'|(\S+))")
PEEK = """
SELECT lsn::text, data FROM pg_logical_slot_peek_changes(
    %s, NULL, %s, 'include-xids', '0', 'skip-empty-xacts', '1')"""
END = "SELECT pg_current_wal_flush_lsn()::text"
ADVANCE = "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)"
KEPT = """
SELECT pg_current_wal_lsn() - restart_lsn > 1e6 FROM pg_replication_slots
WHERE slot_name = %s"""

Row = dict[str, str | None]
Publish = Callable[[str, Row], Awaitable[None]]


def translate(line: str) -> tuple[str, Row] | None:
    """Make an event of a line of test_decoding; BEGIN and COMMIT are none."""
    if not (change := CHANGE.fullmatch(line)):
        return None
    row: Row = {}
    for name, quoted, plain in COLUMN.findall(change[2]):
        value = quoted.replace("''", "'") or plain
        row[name] = None if plain == "null" else value
    return change[1].lower(), row


async def start(publish: Publish) -> None:
    """First the slot, then the rows there are: no change falls between."""
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        await db.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')",
            [SLOT],
        )
        async for title, state in await db.execute("SELECT * FROM video"):
            await publish("read", {"title": title, "state": state})


async def relay(publish: Publish) -> None:
    """Publish what was committed, and only then tell the slot."""
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        # One relay at a time, or two publish the same and order is lost.
        await db.execute("SELECT pg_advisory_lock(hashtext(%s))", [SLOT])
        lines = None
        while lines != []:
            end = await (await db.execute(END)).fetchall()
            lines = await (await db.execute(PEEK, [SLOT, BATCH])).fetchall()
            for _, line in lines:
                if event := translate(line):
                    await publish(*event)
            # Without a line, too: or all that others write is kept for us.
            await db.execute(ADVANCE, [SLOT, (lines or end)[-1][0]])


async def main() -> None:
    async def publish(change: str, row: Row) -> None:
        print(f"  {change:6} {row}")  # here, the confirmed send to a broker

    async def crash(change: str, row: Row) -> None:
        await publish(change, row)
        raise RuntimeError("after one event")

    async def quiet(change: str, row: Row) -> None:
        pass

    async with await AsyncConnection.connect(URL, autocommit=True) as old:

        async def slot_keeps() -> str:
            await old.execute("CHECKPOINT")  # removes what nobody needs
            found = await (await old.execute(KEPT, [SLOT])).fetchone()
            return "megabytes" if found and found[0] else "almost nothing"

        await old.execute(
            "CREATE TABLE video (title text PRIMARY KEY, state text)"
        )
        await old.execute("INSERT INTO video VALUES ('cat', 'new')")
        print("the relay begins")
        await start(publish)
        await old.execute("UPDATE video SET state = 'ready'")
        async with old.transaction(force_rollback=True):
            await old.execute("INSERT INTO video VALUES ('owl', 'new')")
        await old.execute("INSERT INTO video VALUES ('dog''s day', 'new')")
        try:
            await relay(crash)
        except RuntimeError as error:
            print("the relay crashed", error)
        await old.execute("DELETE FROM video WHERE title = 'cat'")
        await relay(publish)
        print("20,000 changes, and no relay")
        for _ in range(10):
            await old.execute(
                "INSERT INTO video"
                " SELECT n, 'old' FROM generate_series(1, 1000) n"
            )
            await old.execute("DELETE FROM video WHERE state = 'old'")
        print("  the slot keeps", await slot_keeps())
        await relay(quiet)
        await old.execute("CHECKPOINT")
        await relay(quiet)
        print("the relay has read them\n  the slot keeps", await slot_keeps())
        await old.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])
        await old.execute("DROP TABLE video")


if __name__ == "__main__":
    asyncio.run(main())
