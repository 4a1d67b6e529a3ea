# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on PostgreSQL: the queue is in the same database."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

from psycopg import AsyncConnection

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = os.environ.get("DATABASE_URL", DEFAULT)
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE IF NOT EXISTS queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL, body bytea NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
ADD = "INSERT INTO queue (message_id, body) VALUES (%s, %s)"
NEXT = """
SELECT id, message_id, body FROM queue
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""
DELETE = "DELETE FROM queue WHERE id = %s"
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)


async def publish(events: Sequence[tuple[str, str]]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for message_id, event in events:
            await db.execute(ADD, [message_id, event.encode()])


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with await AsyncConnection.connect(
        DATABASE, application_name=receiver
    ) as db:
        done = 0
        while limit is None or done < limit:
            if found := await (await db.execute(NEXT)).fetchone():
                number, message_id, body = found
                what = await _once(db, message_id, body)
                await handle(what)
                await db.execute(DELETE, [number])
                done += 1
            # The view, its id and the end of its message: all, or none.
            await db.commit()
            if not found:
                await asyncio.sleep(POLL_SECONDS)


async def _once(db: AsyncConnection, message_id: str, body: bytes) -> str:
    """Count a view and remember its id; the caller commits both, or none."""
    try:
        number, view = UUID(message_id), VIEWED.fullmatch(body)
    except ValueError:
        view = None
    if not view:  # it would fail each time: keep it, and go on
        await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
        return f"refused a message with id {message_id!r}"
    # Another receiver that has just inserted this id makes us wait for it.
    new = await db.execute(REMEMBER, [number])
    if not new.rowcount:
        return f"dropped a duplicate view of {view[1].decode()}"
    await db.execute(COUNT, [view[1].decode()])
    return f"counted a view of {view[1].decode()}"


async def views() -> dict[str, int]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT video, count FROM views")
        return {row[0]: row[1] for row in await rows.fetchall()}


async def refused() -> list[str]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT message FROM refused ORDER BY 1")
        return [row[0] for row in await rows.fetchall()]


async def main() -> None:
    await declare()
    # Made once, before the first try: a retry has to send the same id.
    view = str(uuid4()), "viewed cat.mp4"
    await publish([view, view])  # its confirm got lost: tried again

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
