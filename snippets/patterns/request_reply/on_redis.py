# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Request-reply on Redis Streams: each asker gets its own answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

import redis_client
from redis_client import Worker, connect, create_group, follow

# The tag in braces: in a cluster, questions and answers are on one node.
QUESTIONS, REPLIES, GROUP = "{lengths}", "{lengths}:replies:", "repliers"
FIELDS = {"question", "reply_to", "correlation_id", "seconds"}
LEASE = 2_000  # ms until a dead replier's question goes on; usual: 30_000
KEEP = 60  # seconds until answers that nobody took are deleted

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUESTIONS, GROUP)


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Name a stream for answers; what it yields may be used concurrently."""
    replies = f"{REPLIES}{uuid4().hex}"
    waiting: dict[str, asyncio.Future[str]] = {}

    async def listen() -> None:
        async for _, fields in follow(redis, replies):
            number = fields.get("correlation_id", "")
            if number in waiting and "answer" in fields:  # else: late
                waiting.pop(number).set_result(fields["answer"])

    async def ask(question: str, seconds: float) -> str:
        number = uuid4().hex
        answer = waiting[number] = asyncio.Future()
        fields: Any = {"question": question, "seconds": seconds}
        fields |= {"reply_to": replies, "correlation_id": number}
        both: Any = [answer, listener]
        try:
            async with asyncio.timeout(seconds):
                await redis.xadd(QUESTIONS, fields)
                redis_client.end_if_cancelled()
                await asyncio.wait(both, return_when="FIRST_COMPLETED")
                if listener.done():
                    listener.result()  # raises what ended it
                return answer.result()
        finally:
            waiting.pop(number, None)

    async with connect() as redis:
        listener = asyncio.create_task(listen())
        try:
            yield ask
        finally:
            listener.cancel()


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
                        number = fields["correlation_id"]
                        settle.xadd(
                            to, {"correlation_id": number, "answer": reply}
                        )
                        settle.expire(to, KEEP)
                    await settle.execute()


async def is_awaited(redis: Redis, place: str, fields: dict[str, str]) -> bool:
    # Both times are the server's: no clocks need agree.
    seconds, micros = await redis.time()
    asked = int(place.split("-")[0]) / 1_000
    try:
        # Whoever asks may not name any other key for the answer.
        if FIELDS - {*fields} or not fields["reply_to"].startswith(REPLIES):
            raise ValueError("a field is missing, or is no return address")
        return seconds + micros / 1e6 < asked + float(fields["seconds"])
    except ValueError as error:
        logging.warning("not a question: %r %r", error, fields)
        return False


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its asker waits
        return f"{video}: {len(video)} min"

    async with connect() as redis:
        await declare(redis)
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
