# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Backpressure on Redis Streams: a script counts first, a producer waits."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, GROUP = "transcode", "workers"
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]

# A script is atomic: no other producer adds between the two commands.
# XADD's own MAXLEN refuses nothing: it drops the oldest task, done or not.
OFFER = """
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', 'task', ARGV[2])"""


async def declare() -> None:
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the queue has taken."""
    # No retries: a request that timed out may have added the task already.
    async with Redis.from_url(
        URL, retry=None, single_connection_client=True
    ) as redis:
        added = await add(redis, tasks, patience)
        # Wait for fsync, but less than the client waits for the server, 5 s.
        fsynced, _ = await redis.waitaof(1, 0, timeout=4_000)
        if not fsynced:
            raise TimeoutError("the tasks are not on the server's disk")
        return added


async def add(redis: Redis, tasks: Sequence[str], patience: float) -> int:
    offer = redis.register_script(OFFER)
    added = 0
    for task in tasks:
        pause, deadline = 0.05, time.monotonic() + patience
        while not await offer(keys=[QUEUE], args=[LIMIT, task]):
            if time.monotonic() > deadline:
                return added  # the caller decides about the rest
            # At random: producers must not all come back at once.
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
        added += 1
    return added


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    async with Redis.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes
        socket_timeout=None,
    ) as redis:
        start, done = "0-0", 0
        while limit is None or done < limit:
            count = min(prefetch, limit - done) if limit else prefetch
            # Redis redelivers nothing by itself: a live worker must claim.
            start, held, _ = await redis.xautoclaim(
                QUEUE, GROUP, worker, LEASE, start, count
            )
            held = held or await take_new(redis, worker, count)
            renewal = asyncio.create_task(renew(redis, worker, held))
            try:
                while held:
                    number, fields = held[0]
                    await handle(fields.get("task", str(fields)))
                    await acknowledge(redis, number)
                    done += 1
                    del held[0]
            finally:
                renewal.cancel()


async def acknowledge(redis: Redis, number: str) -> None:
    both = redis.pipeline(transaction=True)
    both.xack(QUEUE, GROUP, number)
    both.xdel(QUEUE, number)  # this makes room: XLEN counts what is done, too
    await both.execute()


async def take_new(redis: Redis, worker: str, count: int) -> list[Any]:
    streams: Any = await redis.xreadgroup(
        GROUP, worker, {QUEUE: ">"}, count, block=1_000
    )
    return [entry for _, entries in streams for entry in entries]


async def renew(redis: Redis, worker: str, held: list[Any]) -> None:
    """Show that this worker lives, however long a task takes."""
    while True:
        await asyncio.sleep(LEASE / 1000 / 4)
        mine: Any = await redis.xpending_range(
            QUEUE, GROUP, "-", "+", 1_000, consumername=worker
        )
        numbers = {entry["message_id"] for entry in mine}
        for number in numbers & {number for number, _ in held}:
            # This resets the idle time; JUSTID does not count a delivery.
            await redis.xclaim(QUEUE, GROUP, worker, 0, [number], justid=True)


async def main() -> None:
    await declare()
    confirmed = await submit(TASKS, patience=0.2)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
