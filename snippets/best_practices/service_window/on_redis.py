# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""A window of confirms on Redis: many XADD in one request, one fsync."""

from collections.abc import Iterable
from itertools import islice

from redis.asyncio import Redis

from redis_client import FSYNC, connect, end_if_cancelled, run

STREAM = "transcode"
WINDOW = 50


async def submit(
    redis: Redis, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)
    async with redis.client() as one:  # It keeps one connection.
        while batch := list(islice(left, window)):
            requests = one.pipeline(transaction=False)
            for task in batch:
                requests.xadd(STREAM, {"task": task})
            await requests.execute()  # all have an answer, or this raises
        # Once for all, as it takes up to a second: are they on the disk?
        fsynced, _ = await one.waitaof(1, 0, timeout=FSYNC)
        end_if_cancelled()
    if not fsynced:
        raise TimeoutError("the tasks are not on the server's disk")


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as redis:
        await submit(redis, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    run(main)
