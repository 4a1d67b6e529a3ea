# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]>=3.3"]
# ///
"""Request-reply on PostgreSQL: each asker gets its own answers."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from psycopg import AsyncConnection, sql

DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
URL = os.environ.get("DATABASE_URL", DEFAULT)
POLL_SECONDS = 1  # nobody notifies of a question that a dead replier let go

CREATE = """
CREATE TABLE IF NOT EXISTS question (
    id text PRIMARY KEY, body text NOT NULL, reply_to text NOT NULL,
    deadline timestamptz NOT NULL, answer text)"""
ASK = """
INSERT INTO question (id, body, reply_to, deadline)
VALUES (%s, %s, %s, clock_timestamp() + %s * interval '1 second')"""
TAKE_ANSWER = "DELETE FROM question WHERE id = %s RETURNING answer"
LOCK_NEXT = """
SELECT id, body, reply_to FROM question
WHERE answer IS NULL AND deadline > clock_timestamp()
ORDER BY deadline LIMIT 1 FOR UPDATE SKIP LOCKED"""
# A notification carries up to 8000 bytes: so the id, and not the answer.
REPLY = """
WITH answered AS (UPDATE question SET answer = %s WHERE id = %s RETURNING *)
SELECT pg_notify(reply_to, id) FROM answered"""
SWEEP = """
DELETE FROM question WHERE id IN (
    SELECT id FROM question WHERE deadline < clock_timestamp()
    FOR UPDATE SKIP LOCKED)"""

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    async with await AsyncConnection.connect(URL) as db:
        # Two CREATEs at the same moment collide, in spite of IF NOT EXISTS.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('question'))")
        await db.execute(CREATE)


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Listen on a channel of its own; what it yields serves many at once."""
    me = f"asker_{uuid4().hex}"
    waiting: dict[str, asyncio.Queue[None]] = {}

    async def listen() -> None:
        async for notification in listening.notifies():
            number = notification.payload
            if number in waiting:  # else it is late, or no answer
                waiting[number].put_nowait(None)

    async def ask(question: str, seconds: float) -> str:
        number = uuid4().hex
        waiting[number] = asyncio.Queue()
        try:
            async with asyncio.timeout(seconds):
                await db.execute(ASK, [number, question, me, seconds])
                await db.execute("NOTIFY question")
                await waiting[number].get()
                found = await db.execute(TAKE_ANSWER, [number])
                [reply] = await found.fetchone() or [None]
                return str(reply)
        finally:
            del waiting[number]

    async with (
        await AsyncConnection.connect(URL, autocommit=True) as db,
        await AsyncConnection.connect(URL, autocommit=True) as listening,
    ):
        await listening.execute(
            sql.SQL("LISTEN {}").format(sql.Identifier(me))
        )
        listener = asyncio.create_task(listen())
        try:
            yield ask
        finally:
            listener.cancel()


async def answer(replier: str, handle: Handler) -> None:
    async with await AsyncConnection.connect(
        URL, application_name=replier
    ) as db:
        await db.execute("LISTEN question")
        await db.commit()
        while True:
            if found := await (await db.execute(LOCK_NEXT)).fetchone():
                number, question, _ = found
                reply = await handle(question)
                await db.execute(REPLY, [reply, number])
                await db.commit()  # unlocks it, and sends the notification
            else:
                await db.execute(SWEEP)  # answers that nobody fetched, too
                await db.commit()
                async for _ in db.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its asker waits
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(answer("replier", probe))
    async with asker() as ask:
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
