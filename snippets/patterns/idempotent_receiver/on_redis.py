# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on Redis Streams: a view counts once."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CHANNEL, RECEIVERS = "views", "counter"
KEEP = 100_000  # events; a receiver that falls further behind loses the oldest
DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = os.environ.get("DATABASE_URL", DEFAULT)
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

CREATE = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(CHANNEL, RECEIVERS, "0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def publish(events: Sequence[tuple[str, str]]) -> None:
    # The client's own retries would be duplicates too; they do no harm here.
    async with Redis.from_url(URL) as redis:
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for message_id, event in events:
            # The entry's own id is new each time: it can't tell a duplicate.
            fields: Any = {"id": message_id, "event": event.encode()}
            requests.xadd(CHANNEL, fields, maxlen=KEEP)
        # Wait for fsync, but less than the client waits, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the events are not on the server's disk")


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    # No retries: ">" again would skip the event of an answer that got lost.
    async with (
        Redis.from_url(URL, socket_timeout=None, retry=None) as redis,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        after = "0"  # first what it got but never acknowledged, then ">": new
        done = 0
        while limit is None or done < limit:
            streams: Any = await redis.xreadgroup(
                RECEIVERS, receiver, {CHANNEL: after}, count=1, block=1_000
            )
            entries = [entry for _, found in streams for entry in found]
            for number, fields in entries:
                if fields:  # else it is older than what the stream keeps
                    named = fields.get(b"id", b"").decode("ascii", "replace")
                    what = await _once(db, named, fields.get(b"event", b""))
                    await db.commit()  # the view and its id, or neither
                    await handle(what)
                    done += 1
                # After the commit: a crash in between repeats, not loses.
                await redis.xack(CHANNEL, RECEIVERS, number)
            if not entries:
                after = ">"


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
