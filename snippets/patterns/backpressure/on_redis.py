# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Backpressure on Redis Streams: a script counts first, a producer waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

import redis_client
from redis_client import FSYNC, Worker, connect, create_group, run

QUEUE, GROUP = "transcode", "workers"
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]

# A script is atomic: no other producer adds between the two commands.
# XADD's own MAXLEN refuses nothing: it drops the oldest task, done or not.
OFFER = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'task', ARGV[2])"""


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(
    redis: Redis, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    async with redis.client() as one:  # WAITAOF is for its own connection
        taken = await offer_all(one, tasks, patience)
        fsynced, _ = await one.waitaof(1, 0, timeout=FSYNC)
        redis_client.end_if_cancelled()
    if not fsynced:
        raise TimeoutError("the tasks are not on the server's disk")
    return taken


async def offer_all(
    redis: Redis, tasks: Sequence[str], patience: float
) -> int:
    offer = redis.register_script(OFFER)
    for taken, task in enumerate(tasks):
        pause, deadline = 0.05, time.monotonic() + patience
        while not await offer(keys=[QUEUE], args=[LIMIT, task]):
            if time.monotonic() > deadline:
                return taken  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 1.0)
    return len(tasks)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    async with connect() as redis:
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        while limit is None or done < limit:
            count = min(prefetch, limit - done) if limit else prefetch
            held = await queue.take(count)
            async with queue.renewed(held):
                while held:
                    number, fields = held[0]
                    await handle(fields.get("task", str(fields)))
                    # It is deleted: XLEN counts what is done, too.
                    await queue.settle(number)
                    done += 1
                    del held[0]


async def main() -> None:
    done: set[str] = set()

    async def note(task: str) -> None:
        done.add(task)

    async with connect() as redis:
        await declare(redis)
        taken = await submit(redis, TASKS, patience=0.2)
        print(f"confirmed {taken} of {len(TASKS)} tasks: the queue is full")
        await work("A", note, limit=len(TASKS) - taken)
        more = await submit(redis, TASKS[taken:])
        print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=taken)
    print(f"done: {len(done)} of {len(TASKS)} tasks")


if __name__ == "__main__":
    run(main)
