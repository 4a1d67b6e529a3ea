# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Request-reply on Redis: a stream of requests, a list for each reply."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

import redis_client
from redis_client import Worker, age, connect, create_group, run

# By the tag in braces, both are on one node of a cluster.
REQUESTS, REPLIES, GROUP = "{lengths}", "{lengths}:replies:", "repliers"
FIELDS = {"body", "reply_to", "seconds"}
LEASE = 2_000  # ms until a dead replier's request goes on; usual: 30_000
KEEP = 60  # seconds until a reply that nobody took is deleted

Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(redis: Redis) -> None:
    await create_group(redis, REQUESTS, GROUP)


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Open a pool: each request that waits takes a connection of it."""
    async with connect() as redis:

        async def request(body: str, seconds: float) -> str:
            until = time.monotonic() + seconds
            # The list is for this reply alone: no other can be taken for it.
            to = f"{REPLIES}{uuid4().hex}"
            fields: Any = {"body": body, "reply_to": to}
            await redis.xadd(REQUESTS, fields | {"seconds": seconds})
            while (left := until - time.monotonic()) > 0:
                redis_client.end_if_cancelled()
                if found := await redis.blpop([to], min(left, 1)):
                    return str(found[1])
            raise TimeoutError(f"no reply within {seconds} s")

        yield request


async def serve(replier: str, handle: Handler) -> None:
    async with connect() as redis:
        queue = Worker(redis, REQUESTS, GROUP, replier, LEASE)
        while True:
            held = await queue.take()
            async with queue.renewed(held):
                for place, fields in held:
                    settle = queue.settling(place)
                    if await is_awaited(redis, place, fields):
                        body, to = fields["body"], fields["reply_to"]
                        reply = await handle(body)
                        settle.rpush(to, reply)
                        settle.expire(to, KEEP)
                    await settle.execute()


async def is_awaited(redis: Redis, place: str, fields: dict[str, str]) -> bool:
    # A requestor may not name any other key for the reply.
    if {*fields} >= FIELDS and fields["reply_to"].startswith(REPLIES):
        with suppress(ValueError):
            return await age(redis, place) < float(fields["seconds"])
    logging.warning("not a request: %r", fields)
    return False


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # This is longer than its wait.
        return f"{video}: {len(video)} min"

    async with connect() as redis:
        await declare(redis)
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
