# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Request-reply on Redis Streams: each asker gets its own answers."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUESTIONS, GROUP = "lengths", "repliers"
LEASE = 2_000  # ms until a dead replier's question goes on; usual: 30_000
KEEP = 60  # seconds until the answers of an asker that died are deleted

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(QUESTIONS, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Name a stream for answers; what it yields may be used concurrently."""
    replies = f"{QUESTIONS}:replies:{uuid4().hex}"
    waiting: dict[bytes, asyncio.Queue[bytes]] = {}

    async def listen() -> None:
        after: Any = "0"
        while True:
            streams: Any = await redis.xread({replies: after}, block=1_000)
            for place, fields in streams[0][1] if streams else ():
                after = place
                number = fields.get(b"correlation_id", b"")
                if number in waiting and b"answer" in fields:  # else: late
                    waiting[number].put_nowait(fields[b"answer"])

    async def ask(question: str, seconds: float) -> str:
        number = uuid4().hex.encode()
        waiting[number] = asyncio.Queue()
        try:
            async with asyncio.timeout(seconds):
                fields: Any = {"question": question, "reply_to": replies}
                fields |= {"correlation_id": number, "seconds": seconds}
                await redis.xadd(QUESTIONS, fields)
                return (await waiting[number].get()).decode()
        finally:
            del waiting[number]

    # No time limit on answers of the server: xread waits there.
    async with Redis.from_url(URL, socket_timeout=None, retry=None) as redis:
        listener = asyncio.create_task(listen())
        try:
            yield ask
        finally:
            listener.cancel()
            await redis.delete(replies)


async def answer(replier: str, handle: Handler) -> None:
    async with Redis.from_url(URL, socket_timeout=None, retry=None) as redis:
        while True:
            # First what a replier that died has left, then what is new.
            _, entries, _ = await redis.xautoclaim(
                QUESTIONS, GROUP, replier, LEASE, count=1
            )
            if not entries:
                streams: Any = await redis.xreadgroup(
                    GROUP, replier, {QUESTIONS: ">"}, count=1, block=1_000
                )
                entries = [entry for _, found in streams for entry in found]
            for place, fields in entries:
                settle = redis.pipeline(transaction=True)
                settle.xack(QUESTIONS, GROUP, place)
                settle.xdel(QUESTIONS, place)  # else the stream grows
                try:
                    question = fields[b"question"].decode()
                    to, number = fields[b"reply_to"], fields[b"correlation_id"]
                    valid = float(fields[b"seconds"])
                except (KeyError, ValueError) as error:
                    logging.warning("not a question: %r %r", error, fields)
                    valid = 0
                # Both times are the server's: no clocks need agree.
                seconds, micros = await redis.time()
                asked = int(place.split(b"-")[0]) / 1_000
                if seconds + micros / 1e6 < asked + valid:
                    renewal = asyncio.create_task(renew(redis, replier, place))
                    try:
                        reply = await handle(question)
                    finally:
                        renewal.cancel()
                    settle.xadd(
                        to, {"correlation_id": number, "answer": reply}
                    )
                    settle.expire(to, KEEP)
                await settle.execute()


async def renew(redis: Redis, replier: str, place: bytes) -> None:
    """Show that this replier lives, however long an answer takes."""
    while True:
        await asyncio.sleep(LEASE / 1_000 / 4)
        await redis.xclaim(QUESTIONS, GROUP, replier, 0, [place], justid=True)


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
