# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Transactional outbox to the minibroker: an event for each upload."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
DB = sqlite3.connect(":memory:")  # so does this database; a real one is a file
RELAYING = asyncio.Lock()  # a second relay waits: no event overtakes another
QUEUE = "videos"
BATCH = 10  # events that a crash may publish again
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE video (name TEXT PRIMARY KEY);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL, written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"""
VIDEO = "INSERT INTO video VALUES (?)"
EVENT = "INSERT INTO outbox (event) VALUES (?)"
NEXT = "SELECT id, event FROM outbox ORDER BY id LIMIT ?"
DELETE = "DELETE FROM outbox WHERE id <= ?"

Handler = Callable[[str, str], Awaitable[None]]


async def declare() -> None:
    DB.executescript(CREATE)
    BROKER.declare(QUEUE)


async def upload(videos: Sequence[str]) -> None:
    for video in videos:
        with DB:  # It rolls back what is not committed.
            DB.execute(VIDEO, [video])
            DB.execute(EVENT, [f"uploaded {video}"])
            DB.commit()  # both rows, or none


async def relay(limit: int | None = None) -> None:
    done = 0
    while limit is None or done < limit:
        async with RELAYING:
            with DB:  # It commits, or rolls back.
                moved = await _move()
        done += moved
        if not moved:
            await asyncio.sleep(POLL_SECONDS)


async def _move() -> int:
    """Publish a batch and delete it; the caller commits."""
    rows = DB.execute(NEXT, [BATCH]).fetchall()
    for number, event in rows:
        BROKER.publish(QUEUE, event, message_id=str(number), publisher="relay")
    if rows:  # after publishing: a crash here repeats, rather than loses
        DB.execute(DELETE, [rows[-1][0]])
    return len(rows)


async def receive(handle: Handler, limit: int | None = None) -> None:
    done = 0
    with BROKER.consume(QUEUE, "thumbnailer") as consumer:
        async for delivery in consumer:
            message = delivery.message
            await handle(message.body, message.headers.get("message_id", ""))
            delivery.ack()
            done += 1
            if done == limit:
                return


async def main() -> None:
    await declare()
    await upload(["cat.mp4", "dog.mp4"])
    try:
        await upload(["cat.mp4"])
    except sqlite3.IntegrityError:
        print("a second cat.mp4 was rolled back, and its event with it")
    await _move()
    DB.rollback()  # SQLite does so when a relay dies.
    print("a relay published, and died before its commit")
    await relay(limit=2)

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=4)


if __name__ == "__main__":
    asyncio.run(main())
