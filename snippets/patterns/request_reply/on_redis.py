# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Request-reply on Redis: a stream of questions, a list for each answer."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

import redis_client
from redis_client import Worker, age, connect, create_group

# By the tag in braces, both are on one node of a cluster.
QUESTIONS, REPLIES, GROUP = "{lengths}", "{lengths}:replies:", "repliers"
FIELDS = {"question", "reply_to", "seconds"}
LEASE = 2_000  # ms until a dead replier's question goes on; usual: 30_000
KEEP = 60  # seconds until an answer that nobody took is deleted

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUESTIONS, GROUP)


@asynccontextmanager
async def requestor() -> AsyncIterator[Ask]:
    """Open a pool: each question that waits takes a connection of it."""
    async with connect() as redis:

        async def ask(question: str, seconds: float) -> str:
            until = time.monotonic() + seconds
            # A list for this answer alone: no other can be taken for it.
            to = f"{REPLIES}{uuid4().hex}"
            fields: Any = {"question": question, "reply_to": to}
            await redis.xadd(QUESTIONS, fields | {"seconds": seconds})
            while (left := until - time.monotonic()) > 0:
                redis_client.end_if_cancelled()
                if found := await redis.blpop([to], min(left, 1)):
                    return str(found[1])
            raise TimeoutError(f"no answer within {seconds} s")

        yield ask


async def answer(replier: str, handle: Handler) -> None:
    async with connect() as redis:
        queue = Worker(redis, QUESTIONS, GROUP, replier, LEASE)
        while True:
            held = await queue.take()
            async with queue.renewed(held):
                for place, fields in held:
                    settle = queue.settling(place)
                    if await is_awaited(redis, place, fields):
                        question, to = fields["question"], fields["reply_to"]
                        reply = await handle(question)
                        settle.rpush(to, reply)
                        settle.expire(to, KEEP)
                    await settle.execute()


async def is_awaited(redis: Redis, place: str, fields: dict[str, str]) -> bool:
    # Whoever asks may not name any other key for the answer.
    if {*fields} >= FIELDS and fields["reply_to"].startswith(REPLIES):
        with suppress(ValueError):
            return await age(redis, place) < float(fields["seconds"])
    logging.warning("not a question: %r", fields)
    return False


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its requestor waits
        return f"{video}: {len(video)} min"

    async with connect() as redis:
        await declare(redis)
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
