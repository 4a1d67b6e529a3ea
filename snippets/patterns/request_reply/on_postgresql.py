# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Request-reply on PostgreSQL: the reply comes into the request's row."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from database import Connection, connect, create, run

POLL_SECONDS = 0.05

TABLE = """
CREATE TABLE IF NOT EXISTS request (
    id uuid PRIMARY KEY, body text NOT NULL,
    deadline timestamptz NOT NULL, reply text)"""
SEND = """
INSERT INTO request (id, body, deadline)
VALUES (%s, %s, clock_timestamp() + %s * interval '1 second')"""
TAKE_REPLY = """
DELETE FROM request WHERE id = %s AND reply IS NOT NULL RETURNING reply"""
LOCK_NEXT = """
SELECT id, body FROM request
WHERE reply IS NULL AND deadline > clock_timestamp()
ORDER BY deadline LIMIT 1 FOR UPDATE SKIP LOCKED"""
REPLY = "UPDATE request SET reply = %s WHERE id = %s"
# This deletes requests and replies whose requestor has given up.
SWEEP = """
DELETE FROM request WHERE id IN (
    SELECT id FROM request WHERE deadline < clock_timestamp()
    FOR UPDATE SKIP LOCKED)"""

Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(db: Connection) -> None:
    await create(db, TABLE)


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Connect once; what it yields serves many requests at the same time.

    After a lost connection each request raises: enter `requestor()` again.
    """
    async with connect() as db:

        async def request(body: str, seconds: float) -> str:
            number, until = uuid4(), time.monotonic() + seconds
            await db.execute(SEND, [number, body, seconds])
            while time.monotonic() < until:
                async for (reply,) in await db.execute(TAKE_REPLY, [number]):
                    return str(reply)
                await asyncio.sleep(POLL_SECONDS)
            raise TimeoutError(f"no reply within {seconds} s")

        yield request


async def serve(replier: str, handle: Handler) -> None:
    async with connect(replier) as db:
        while True:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT)
                async for number, body in found:  # It is one, or none.
                    reply = await handle(body)
                    await db.execute(REPLY, [reply, number])
            if not found.rowcount:
                await db.execute(SWEEP)
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # This is longer than its wait.
        return f"{video}: {len(video)} min"

    async with connect() as db:
        await declare(db)
    replier = asyncio.create_task(serve("replier", probe))
    async with requestor() as request:
        both = request("cat.mp4", 30), request("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await request("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no reply in time")
        print(await request("zebra.mp4", 30))  # owl's reply comes before it
    replier.cancel()


if __name__ == "__main__":
    run(main)
