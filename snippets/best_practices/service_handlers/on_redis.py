# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Several handlers at once on Redis Streams: each task has its own XACK."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, GROUP, WORKER = "transcode", "workers", f"transcoder-{os.getpid()}"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[Redis]:
    # An answer that does not come within 5 s, the client's default, raises.
    async with Redis.from_url(
        URL, decode_responses=True, encoding_errors="surrogateescape"
    ) as redis:
        yield redis


async def declare(redis: Redis) -> None:
    try:
        await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):  # it is there already
            raise


async def submit(redis: Redis, tasks: Sequence[str]) -> None:
    for task in tasks:
        await redis.xadd(QUEUE, {"task": task})


async def take(redis: Redis) -> list[Any]:
    # Redis redelivers nothing by itself: a live worker must claim.
    _, old, _ = await redis.xautoclaim(QUEUE, GROUP, WORKER, LEASE, count=1)
    if old:
        return list(old)
    # Each turn that waits here has a connection of the client's pool.
    new: Any = await redis.xreadgroup(
        GROUP, WORKER, {QUEUE: ">"}, count=1, block=1_000
    )
    return list(new[0][1]) if new else []


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    held: set[str] = set()

    async def take_turns(redis: Redis) -> None:
        while True:
            for number, fields in await take(redis):
                held.add(number)
                await handle(fields.get("task", str(fields)))
                held.remove(number)
                await redis.xack(QUEUE, GROUP, number)  # of this task alone
                await redis.xdel(QUEUE, number)

    async def renew(redis: Redis) -> None:
        while True:  # the tasks in work stay young, however long they take
            await asyncio.sleep(LEASE / 1000 / 4)
            if held:
                now: list[Any] = list(held)
                await redis.xclaim(QUEUE, GROUP, WORKER, 0, now, justid=True)

    async with connect() as redis:
        try:
            async with asyncio.TaskGroup() as handlers:
                handlers.create_task(renew(redis))
                for _ in range(at_once):
                    handlers.create_task(take_turns(redis))
        except ExceptionGroup as failed:  # the first of them is the cause
            raise failed.exceptions[0] from None


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as redis:
        await declare(redis)
        await submit(redis, TASKS)
    for count in (3, AGAIN):
        worker = asyncio.create_task(work(transcode))
        async with asyncio.timeout(60):
            tasks = sorted([await done.get() for _ in range(count)])
        print("a worker did", *tasks)
        await asyncio.sleep(3)  # and acknowledges, on a busy machine too
        worker.cancel()  # as if its process ended
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    asyncio.run(main())
