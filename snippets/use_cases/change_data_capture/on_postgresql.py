# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Change data capture on PostgreSQL: a table's commits become events."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from database import Connection, connect, run

SLOT, KEY = "cdc", "title"
BATCH = 100  # rows; a transaction that has more comes whole all the same
POLL_SECONDS = 0.1
CHANGE = re.compile(
    r"(?s)table (?:[^:]*, )?public\.video(?:, [^:]*)?: "
    r"(INSERT|UPDATE|DELETE|TRUNCATE): "
    r"(?:old-key: ((?:[^']|'[^']*')*?) new-tuple: )?(.*)"
)
COLUMN = re.compile(r"""(\w+|"[^"]+")\[[^:]+\]:(?:'((?:[^']|'')*)'|(\S+))""")
PEEK = """
SELECT lsn::text, data FROM pg_logical_slot_peek_changes(
    %s, NULL, %s, 'include-xids', '0', 'skip-empty-xacts', '1')"""
END = "SELECT pg_current_wal_flush_lsn()::text"
ADVANCE = "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)"
ONLY_RELAY = "SELECT pg_try_advisory_lock(hashtext(%s))"
KEPT = """
SELECT pg_current_wal_lsn() - restart_lsn > 1e6 FROM pg_replication_slots
WHERE slot_name = %s"""
TABLE = "CREATE TABLE video (title text PRIMARY KEY, state text)"
RENAME = "UPDATE video SET title = 'day' WHERE title LIKE 'dog%'"

Row = dict[str, str | None]
Publish = Callable[[str, Row], Awaitable[None]]


def columns(text: str) -> Row:
    row: Row = {}
    for name, quoted, plain in COLUMN.findall(text):
        if plain != "unchanged-toast-datum":  # a long value, as it was before
            value = quoted.replace("''", "'") or plain
            row[name.strip('"')] = None if plain == "null" else value
    return row


def translate(line: str) -> list[tuple[str, Row]]:
    """Make events of a line of test_decoding; BEGIN and COMMIT are none."""
    if not (change := CHANGE.fullmatch(line)):
        return []
    what, old, new = change[1].lower(), columns(change[2] or ""), change[3]
    events = [(what, columns(new) if what != "truncate" else {})]
    if old and old[KEY] != events[0][1][KEY]:  # the key itself has changed
        events.insert(0, ("delete", {KEY: old[KEY]}))
    return events


async def start(db: Connection, publish: Publish) -> None:
    """First the slot, then the rows there are: no change falls between."""
    await db.execute(
        "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')",
        [SLOT],
    )
    async for title, state in await db.execute("SELECT * FROM video"):
        await publish("read", {"title": title, "state": state})


async def relay(publish: Publish, until_empty: bool = False) -> None:
    """Publish what was committed, and only then tell the slot."""
    async with connect("relay") as db:
        # One relay at a time, or two publish the same and order is lost.
        if not await value(db, ONLY_RELAY, SLOT):
            raise RuntimeError("another relay reads the slot")
        while True:
            end = await value(db, END)
            lines = await (await db.execute(PEEK, [SLOT, BATCH])).fetchall()
            for _, line in lines:
                for event in translate(line):
                    await publish(*event)
            # Without a line, too: or all that others write is kept for us.
            await db.execute(ADVANCE, [SLOT, lines[-1][0] if lines else end])
            if not lines:
                if until_empty:
                    return
                await asyncio.sleep(POLL_SECONDS)


async def value(db: Connection, query: str, *parameters: str) -> Any:
    found = await (await db.execute(query, parameters)).fetchone()
    return found and found[0]


async def main() -> None:
    async def publish(change: str, row: Row) -> None:
        print(f"  {change:6} {row}")  # A real one sends it to a broker.

    async def crash(change: str, row: Row) -> None:
        await publish(change, row)
        raise RuntimeError("after one event")

    async def quiet(change: str, row: Row) -> None:
        pass

    async with connect() as old:

        async def slot_keeps() -> str:
            await old.execute("CHECKPOINT")  # It removes what nobody needs.
            much = await value(old, KEPT, SLOT)
            return "megabytes" if much else "almost nothing"

        await old.execute(TABLE)
        await old.execute("INSERT INTO video VALUES ('cat', 'new')")
        print("the relay begins")
        await start(old, publish)
        await old.execute("UPDATE video SET state = 'ready'")
        async with old.transaction(force_rollback=True):
            await old.execute("INSERT INTO video VALUES ('owl', 'new')")
        await old.execute("INSERT INTO video VALUES ('dog''s day', 'new')")
        try:
            await relay(crash)
        except RuntimeError as error:
            print("the relay crashed", error)
        await old.execute("DELETE FROM video WHERE title = 'cat'")
        await old.execute(RENAME)
        await old.execute("TRUNCATE video")
        await relay(publish, until_empty=True)
        print("20,000 changes, and no relay")
        for _ in range(10):
            await old.execute(
                "INSERT INTO video"
                " SELECT n, 'old' FROM generate_series(1, 1000) n"
            )
            await old.execute("DELETE FROM video WHERE state = 'old'")
        print("  the slot keeps", await slot_keeps())
        await relay(quiet, until_empty=True)
        await old.execute("CHECKPOINT")
        await relay(quiet, until_empty=True)
        print("the relay has read them\n  the slot keeps", await slot_keeps())
        await old.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])
        await old.execute("DROP TABLE video")


if __name__ == "__main__":
    run(main)
