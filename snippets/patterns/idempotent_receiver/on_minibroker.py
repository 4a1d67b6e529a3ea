# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Idempotent receiver on the minibroker: a view counts once."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
DB = sqlite3.connect(":memory:")  # so does this database; a real one is a file
QUEUE = "views"
VIEWED = re.compile(r"viewed ([\w.-]{1,100})", re.ASCII)

CREATE = """
CREATE TABLE inbox (
    id TEXT PRIMARY KEY, received TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE views (video TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE refused (
    message TEXT NOT NULL, received TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"""
REMEMBER = "INSERT INTO inbox (id) VALUES (?) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (?, 1)
ON CONFLICT (video) DO UPDATE SET count = count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (?)"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    DB.executescript(CREATE)
    BROKER.declare(QUEUE)


async def publish(events: Sequence[tuple[str, str]]) -> None:
    for message_id, event in events:
        BROKER.publish(QUEUE, event, message_id=message_id)


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    with BROKER.consume(QUEUE, receiver) as consumer:
        async for delivery in consumer:
            message = delivery.message
            message_id = message.headers.get("message_id", "")
            with DB:  # It commits the view and its id, or neither.
                what = await _once(message_id, message.body)
            await handle(what)
            delivery.ack()  # A crash before it repeats, and loses nothing.
            done += 1
            if done == limit:
                return


async def _once(message_id: str, body: str) -> str:
    """Count a view and remember its id; the caller commits both, or none."""
    try:
        number, view = UUID(message_id), VIEWED.fullmatch(body)
    except ValueError:
        view = None
    if not view:  # it would fail each time: keep it, and go on
        DB.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
        return f"refused a message with id {message_id!r}"
    # Nothing is awaited: no other receiver comes in between.
    new = DB.execute(REMEMBER, [str(number)])
    if not new.rowcount:
        return f"dropped a duplicate view of {view[1]}"
    DB.execute(COUNT, [view[1]])
    return f"counted a view of {view[1]}"


async def views() -> dict[str, int]:
    return dict(DB.execute("SELECT video, count FROM views").fetchall())


async def refused() -> list[str]:
    rows = DB.execute("SELECT message FROM refused ORDER BY 1").fetchall()
    return [message for (message,) in rows]


async def main() -> None:
    await declare()
    # Made once, before the first try: a retry has to send the same id.
    view = str(uuid4()), "viewed cat.mp4"
    await publish([view, view])  # Its confirm got lost: try again.

    async def crash(what: str) -> None:
        raise RuntimeError(what)

    try:
        await receive("A", crash)
    except RuntimeError as error:
        print(f"A {error}, and crashed before it acknowledged")

    async def show(what: str) -> None:
        print(f"A {what}")

    await receive("A", show, limit=2)
    await publish([("17", "viewed cat.mp4"), (str(uuid4()), "viewed cat.mp4")])
    await receive("A", show, limit=2)
    print(f"views: {await views()}, refused: {len(await refused())}")


if __name__ == "__main__":
    asyncio.run(main())
