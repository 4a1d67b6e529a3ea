# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Topic router on PostgreSQL: a table of patterns chooses the receivers."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # a notification can be missed, a row cannot
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number

CREATE = """
CREATE TABLE IF NOT EXISTS binding (
    receiver text, pattern text, expression text NOT NULL,
    PRIMARY KEY (receiver, pattern));
CREATE TABLE IF NOT EXISTS delivery (
    id bigint GENERATED ALWAYS AS IDENTITY,
    receiver text NOT NULL,
    key text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (receiver, id))"""
BIND = "INSERT INTO binding VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
# DISTINCT: one row, however many of a receiver's patterns match.
PUBLISH = """
INSERT INTO delivery (receiver, key, body)
SELECT DISTINCT receiver, %(key)s, %(body)s FROM binding
WHERE %(key)s || '.' ~ expression"""
# Without SKIP LOCKED, a second process of the same receiver waits its turn:
# an event is never overtaken by the next one.
LOCK_NEXT = """
SELECT id, key, body FROM delivery WHERE receiver = %s
ORDER BY id LIMIT 1 FOR UPDATE"""
DELETE = "DELETE FROM delivery WHERE receiver = %s AND id = %s"

Handler = Callable[[str, str], Awaitable[None]]


async def _create(db: AsyncConnection) -> None:
    # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('videos'))")
    await db.execute(CREATE)
    await db.commit()


def _expression(pattern: str) -> str:
    """Make a pattern of words an expression for a key and a dot behind it."""
    words = pattern.split(".")
    return "".join(SIGNS.get(w, re.escape(w + ".")) for w in words)


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    async with await AsyncConnection.connect(URL) as db:
        await _create(db)
        for pattern in patterns:
            expression = f"^{_expression(pattern)}$"
            await db.execute(BIND, [receiver, pattern, expression])


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    async with await AsyncConnection.connect(URL) as db:  # commits at its end
        await _create(db)
        for key, body in events:
            added = await db.execute(PUBLISH, {"key": key, "body": body})
            if not added.rowcount:
                unheard.append(key)
        await db.execute("NOTIFY videos")  # sent with the commit
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with await AsyncConnection.connect(URL) as db:
        await db.execute("LISTEN videos")
        await db.commit()
        done = 0
        while limit is None or done < limit:
            cursor = await db.execute(LOCK_NEXT, [receiver])
            if found := await cursor.fetchone():
                number, key, body = found
                await handle(key, body)
                await db.execute(DELETE, [receiver, number])
                await db.commit()
                done += 1
            else:
                await db.rollback()  # keep no transaction open while idle
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video.*.de"])
    await subscribe("player", ["video.transcoded.#"])
    unheard = await publish(
        [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
    )
    print(f"nobody wants: {unheard}")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
