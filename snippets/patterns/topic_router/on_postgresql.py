# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Topic router on PostgreSQL: a table of patterns chooses the receivers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from database import Connection, connect, create, run

POLL_SECONDS = 0.1  # usual: 1
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number

TABLES = """
CREATE TABLE IF NOT EXISTS binding (
    receiver text, pattern text, expression text NOT NULL,
    PRIMARY KEY (receiver, pattern));
CREATE TABLE IF NOT EXISTS delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    receiver text NOT NULL, key text NOT NULL, body text NOT NULL)"""
BIND = "INSERT INTO binding VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
# DISTINCT: one row, however many of a receiver's patterns match.
PUBLISH = """
INSERT INTO delivery (receiver, key, body)
SELECT DISTINCT receiver, %(key)s, %(body)s FROM binding
WHERE %(key)s || '.' ~ expression"""
# The oldest or none: a second process waits, so no event overtakes another.
LOCK_NEXT = """
SELECT id, key, body FROM delivery WHERE id = (
    SELECT min(id) FROM delivery WHERE receiver = %s)
FOR UPDATE SKIP LOCKED"""
DELETE = "DELETE FROM delivery WHERE id = %s"
KNOWN = "SELECT 1 FROM binding WHERE receiver = %s"

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(
    db: Connection, receiver: str, patterns: Sequence[str]
) -> None:
    await create(db, TABLES)
    for pattern in patterns:
        # A dot stands behind each word of an expression, and of a key.
        words = [SIGNS.get(w, re.escape(w + ".")) for w in pattern.split(".")]
        await db.execute(BIND, [receiver, pattern, f"^{''.join(words)}$"])


async def publish(
    db: Connection, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    async with db.transaction():  # It takes all, or none.
        for key, body in events:
            added = await db.execute(PUBLISH, {"key": key, "body": body})
            if not added.rowcount:
                unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver) as db:
        if not (await db.execute(KNOWN, [receiver])).rowcount:
            raise LookupError(f"{receiver} has no patterns: subscribe() first")
        done = 0
        while limit is None or done < limit:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT, [receiver])
                async for number, key, body in found:  # It is one, or none.
                    await handle(key, body)
                    await db.execute(DELETE, [number])
                    done += 1
            if not found.rowcount:
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def show(receiver: str, key: str, body: str) -> None:
        print(f"{receiver}: {key} {body}")

    async with connect() as db:
        await subscribe(db, "german", ["video.*.de"])
        await subscribe(db, "player", ["video.transcoded.#"])
        events = [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
        print(f"nobody wants: {await publish(db, events)}")
    await receive("german", partial(show, "german"), limit=1)
    await receive("player", partial(show, "player"), limit=2)


if __name__ == "__main__":
    run(main)
