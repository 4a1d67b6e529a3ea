# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Request-reply on PostgreSQL: the answer comes into the question's row."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from database import Connection, connect, create

POLL_SECONDS = 0.05

TABLE = """
CREATE TABLE IF NOT EXISTS question (
    id uuid PRIMARY KEY, body text NOT NULL,
    deadline timestamptz NOT NULL, answer text)"""
ASK = """
INSERT INTO question (id, body, deadline)
VALUES (%s, %s, clock_timestamp() + %s * interval '1 second')"""
TAKE_ANSWER = """
DELETE FROM question WHERE id = %s AND answer IS NOT NULL RETURNING answer"""
LOCK_NEXT = """
SELECT id, body FROM question
WHERE answer IS NULL AND deadline > clock_timestamp()
ORDER BY deadline LIMIT 1 FOR UPDATE SKIP LOCKED"""
REPLY = "UPDATE question SET answer = %s WHERE id = %s"
# This deletes questions and answers whose requestor has given up.
SWEEP = """
DELETE FROM question WHERE id IN (
    SELECT id FROM question WHERE deadline < clock_timestamp()
    FOR UPDATE SKIP LOCKED)"""

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(db: Connection) -> None:
    await create(db, TABLE)


@asynccontextmanager
async def requestor() -> AsyncIterator[Ask]:
    """Connect once; what it yields serves many questions at the same time.

    After a lost connection each question raises: enter `requestor()` again.
    """
    async with connect() as db:

        async def ask(question: str, seconds: float) -> str:
            number, until = uuid4(), time.monotonic() + seconds
            await db.execute(ASK, [number, question, seconds])
            while time.monotonic() < until:
                async for (answer,) in await db.execute(TAKE_ANSWER, [number]):
                    return str(answer)
                await asyncio.sleep(POLL_SECONDS)
            raise TimeoutError(f"no answer within {seconds} s")

        yield ask


async def answer(replier: str, handle: Handler) -> None:
    async with connect(replier) as db:
        while True:
            async with db.transaction():
                found = await db.execute(LOCK_NEXT)
                async for number, question in found:  # one, or none
                    reply = await handle(question)
                    await db.execute(REPLY, [reply, number])
            if not found.rowcount:
                await db.execute(SWEEP)
                await asyncio.sleep(POLL_SECONDS)


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its requestor waits
        return f"{video}: {len(video)} min"

    async with connect() as db:
        await declare(db)
    replier = asyncio.create_task(answer("replier", probe))
    async with requestor() as ask:
        both = ask("cat.mp4", 30), ask("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await ask("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no answer in time")
        print(await ask("zebra.mp4", 30))  # owl's answer comes before it
    replier.cancel()


if __name__ == "__main__":
    asyncio.run(main())
