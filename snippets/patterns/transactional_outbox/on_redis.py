# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to Redis Streams: an event for each upload."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CHANNEL, RECEIVER = "videos", "thumbnailer"
KEEP = 100_000  # events; a receiver that falls further behind loses the oldest
DATABASE = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
BATCH = 10  # events that a crash may publish again
CONFIRM_SECONDS = 10.0  # for a batch; a stuck broker must not hold locks
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO outbox (event) VALUES (%s)"
# No SKIP LOCKED: a second relay waits, and no event overtakes another.
NEXT = "SELECT id, event FROM outbox ORDER BY id LIMIT %s FOR UPDATE"
DELETE = "DELETE FROM outbox WHERE id = ANY(%s)"

Row = tuple[int, str]  # the message id, and the event
Handler = Callable[[str, str], Awaitable[None]]
Publish = Callable[[Sequence[Row]], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(CHANNEL, RECEIVER, "0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


@asynccontextmanager
async def publisher() -> AsyncIterator[Publish]:
    # No retries: a request that timed out may have added the events already.
    async with Redis.from_url(URL, retry=None) as redis:

        async def publish(rows: Sequence[Row]) -> None:
            # No transaction: inside one, WAITAOF would not wait.
            requests = redis.pipeline(transaction=False)
            for number, event in rows:
                requests.xadd(
                    CHANNEL, {"id": str(number), "event": event}, maxlen=KEEP
                )
            # Wait for fsync, but less than the client waits, 5 s.
            requests.waitaof(1, 0, timeout=4_000)
            *_, (fsynced, _) = await requests.execute()
            if not fsynced:
                raise TimeoutError("the events are not on the server's disk")

        yield publish


async def relay(limit: int | None = None) -> None:
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        done = 0
        while limit is None or done < limit:
            moved = await _move(db, publish)
            await db.commit()
            done += moved
            if not moved:
                await asyncio.sleep(POLL_SECONDS)


async def _move(db: AsyncConnection, publish: Publish) -> int:
    """Publish a batch and delete it; the caller commits."""
    rows = await (await db.execute(NEXT, [BATCH])).fetchall()
    if rows:
        async with asyncio.timeout(CONFIRM_SECONDS):
            await publish(rows)  # before the delete: repeat, rather than lose
        await db.execute(DELETE, [[number for number, _ in rows]])
    return len(rows)


async def receive(handle: Handler, limit: int | None = None) -> None:
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    # No retries: ">" again would skip the event of an answer that got lost.
    async with Redis.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes
        socket_timeout=None,
        retry=None,
    ) as redis:
        after = "0"  # first what it got but never acknowledged, then ">": new
        done = 0
        while limit is None or done < limit:
            streams: Any = await redis.xreadgroup(
                RECEIVER, RECEIVER, {CHANNEL: after}, count=1, block=1_000
            )
            entries = [entry for _, found in streams for entry in found]
            for number, fields in entries:
                if fields:  # else it is older than what the stream keeps
                    event = fields.get("event", str(fields))
                    await handle(event, fields.get("id", ""))
                    done += 1
                await redis.xack(CHANNEL, RECEIVER, number)
            if not entries:
                after = ">"


async def main() -> None:
    await declare()
    await upload(["cat.mp4", "dog.mp4"])
    try:
        await upload(["cat.mp4"])
    except UniqueViolation:
        print("a second cat.mp4 was rolled back, and its event with it")
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        await _move(db, publish)
        await db.rollback()  # as PostgreSQL does when a relay dies
    print("a relay published, and died before its commit")
    await relay(limit=2)

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=4)


if __name__ == "__main__":
    asyncio.run(main())
