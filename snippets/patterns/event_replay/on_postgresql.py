# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Event replay on PostgreSQL: a table of events, and who reads it anew."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # a notification can be missed, a row cannot

CREATE = """
CREATE TABLE IF NOT EXISTS event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body bytea NOT NULL)"""
# Held until the commit: else an event could commit late with a low id, behind
# a reader who has already seen a higher one.
ONE_PUBLISHER = "SELECT pg_advisory_xact_lock(hashtext('publish a view'))"
INSERT = "INSERT INTO event (body) VALUES (%s)"
READ = "SELECT id, body FROM event WHERE id > %s ORDER BY id"
# Fields that events got later, and what stands for them in older events.
ADDED = {"kind": "viewed", "country": "unknown"}
EVENTS = [
    '{"video":"cat.mp4"}',
    '{"video":"dog.mp4","country":"AT"}',
    '{"kind":"liked","video":"dog.mp4"}',
    "viewed dog.mp4",
    '{"video":"cat.mp4","country":"AT"}',
]

State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, position: int, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position  # go on behind it
    try:
        event = ADDED | json.loads(body.decode())  # more fields: ignored
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
    new.replace(file)  # the views and the position together, or neither


async def _create(db: AsyncConnection) -> None:
    # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('create'))")
    await db.execute(CREATE)
    await db.commit()


async def publish(events: Sequence[str]) -> None:
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        await _create(db)
        await db.execute(ONE_PUBLISHER)
        for event in events:
            await db.execute(INSERT, [event.encode(errors="surrogateescape")])
        await db.execute("NOTIFY views")  # sent with the commit


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    async with await AsyncConnection.connect(URL) as db:
        await _create(db)
        # It has a name: the server keeps the rows, and sends some at a time.
        async with db.cursor("replay") as rows:
            await rows.execute(READ, [state["at"]])
            async for number, body in rows:
                take(state, number, body)
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    async with await AsyncConnection.connect(URL, autocommit=True) as db:
        await db.execute("LISTEN views")
        done = 0
        while not limit or done < limit:
            rows = await db.execute(READ + " LIMIT 1", [state["at"]])
            if row := await rows.fetchone():
                number, body = row
                if take(state, number, body):
                    await handle(body.decode())
                    done += 1
                save(file, state)
            else:
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay: here, of nothing
        await publish(EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    asyncio.run(main())
