# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Event replay on PostgreSQL: a table of events, and who reads it anew."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1

TABLE = """CREATE TABLE IF NOT EXISTS event (
    id bigserial PRIMARY KEY, body bytea NOT NULL)"""
# Held until the commit: else a low id could come behind a higher one.
ONE_PUBLISHER = "SELECT pg_advisory_xact_lock(hashtext('publish a view'))"
INSERT = "INSERT INTO event (body) VALUES (%s)"
READ = "SELECT id, body FROM event WHERE id > %s ORDER BY id LIMIT 500"
ADDED = {"kind": "viewed", "country": "unknown"}  # Older events lack them.

State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, position: int, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position  # It goes on behind it.
    try:
        event = ADDED | json.loads(body.decode())  # It ignores more fields.
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][str(position)] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # It changes both together, or neither.


async def publish(db: Connection, events: Sequence[str]) -> None:
    await create(db, TABLE)
    async with db.transaction():  # It takes all, or none.
        await db.execute(ONE_PUBLISHER)
        for event in events:
            await db.execute(INSERT, [event.encode(errors="surrogateescape")])


async def replay(db: Connection, file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    await create(db, TABLE)
    while rows := await (await db.execute(READ, [state["at"]])).fetchall():
        for number, body in rows:
            take(state, number, body)
    save(file, state)
    return state


async def follow(
    db: Connection, file: str, handle: Handler, limit: int = 0
) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    while True:
        rows = await db.execute(READ, [state["at"]])
        async for number, body in rows:
            if take(state, number, body):
                await handle(body.decode())
                done += 1
            save(file, state)
            if limit and done == limit:
                return state
        if not rows.rowcount:
            await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", event)

    with TemporaryDirectory() as folder:
        async with connect() as db:
            await replay(db, f"{folder}/live")  # a reader begins with one
            await publish(db, ['{"video":"cat","country":"AT"}'])
            print("live:", await follow(db, f"{folder}/live", notify, limit=1))
            print("new:", await replay(db, f"{folder}/new", by="country"))


if __name__ == "__main__":
    run(main)
