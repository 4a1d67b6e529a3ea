# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""A window of confirms on Redis: many XADD in one request, one fsync."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice

from redis.asyncio import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
STREAM = "transcode"
WINDOW = 50


@asynccontextmanager
async def connect() -> AsyncIterator[Redis]:
    # No retries: a request that timed out may have added the tasks already.
    async with Redis.from_url(URL, retry=None) as redis:
        yield redis


async def submit(
    redis: Redis, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)
    async with redis.client() as one:  # one connection: the client's own
        while batch := list(islice(left, window)):
            requests = one.pipeline(transaction=False)
            for task in batch:
                requests.xadd(STREAM, {"task": task})
            await requests.execute()  # all have an answer, or this raises
        # Once for all, as it takes up to a second: are they on the disk? Wait
        # for less than the client waits for an answer, 5 s.
        fsynced, _ = await one.waitaof(1, 0, timeout=4_000)
    if not fsynced:
        raise TimeoutError("the tasks are not on the server's disk")


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as redis:
        await submit(redis, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    asyncio.run(main())
