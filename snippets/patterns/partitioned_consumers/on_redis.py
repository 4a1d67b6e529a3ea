# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Partitioned consumers on Redis Streams: a key's tasks stay in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from zlib import crc32

from redis.asyncio import Redis

from redis_client import add, connect, locked, look_behind, run

CHANNEL = "videos"
LEASE = 2.0  # seconds until a silent worker's partition is free; usual: 30
PAUSE = 0.2  # seconds until a worker asks again for a partition
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(redis: Redis, partitions: int = 2) -> None:
    await redis.set(f"{CHANNEL}:partitions", partitions)


async def count_partitions(redis: Redis) -> int:
    found = await redis.get(f"{CHANNEL}:partitions")
    if found is None:
        raise LookupError("no partitions: call declare() first")
    return int(found)


async def submit(redis: Redis, tasks: Sequence[tuple[str, str]]) -> None:
    partitions = await count_partitions(redis)
    entries = []
    for key, task in tasks:
        # Not hash(): it gives each process another number for one key.
        number = crc32(key.encode()) % partitions
        entries.append((f"{CHANNEL}:{number}", {"task": task}))
    await add(redis, entries)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)

    async def serve(stream: str) -> None:
        while True:
            if not await look_behind(redis, stream):
                continue  # no consumer group: the lock deals out the work
            async with locked(redis, f"{stream}:lock", worker, LEASE) as ours:
                # Now that nobody else can take it, what is there?
                held = await look_behind(redis, stream, block=None)
                for number, fields in held if ours else []:
                    await handle(fields.get("task", str(fields)))
                    await redis.xdel(stream, number)
                    if next(done) == limit:
                        return
            if not ours:
                await asyncio.sleep(PAUSE)

    async with connect() as redis:
        serving = [
            asyncio.create_task(serve(f"{CHANNEL}:{number}"))
            for number in range(await count_partitions(redis))
        ]
        try:  # side by side: a task that hangs holds up its stream only
            await next(asyncio.as_completed(serving))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


async def main() -> None:
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    async with connect() as redis:
        await declare(redis)
        await submit(redis, TASKS[:4])
        try:
            await work("A", note)
        except RuntimeError as error:
            print("A:", ", ".join(handled), "...", error)
        await submit(redis, TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    run(main)
