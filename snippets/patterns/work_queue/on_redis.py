# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Work queue on Redis Streams: each task goes to one worker, crash or no."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, GROUP = "transcode", "workers"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare() -> None:
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def submit(tasks: Sequence[str]) -> None:
    # No retries: a request that timed out may have added the tasks already.
    async with Redis.from_url(URL, retry=None) as redis:
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for task in tasks:
            requests.xadd(QUEUE, {"task": task})
        # Wait for fsync, but less than the client waits for the server, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the tasks are not on the server's disk")


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
                    if delivery := await lease(redis, worker, number):
                        await handle(fields.get("task", str(fields)), delivery)
                        await acknowledge(redis, number)
                        done += 1
                    del held[0]
            finally:
                renewal.cancel()


async def lease(redis: Redis, worker: str, number: str) -> int:
    """Count the deliveries; 0 if the lease ended and another has the task."""
    mine = await redis.xpending_range(
        QUEUE, GROUP, min=number, max=number, count=1, consumername=worker
    )
    return int(mine[0]["times_delivered"]) if mine else 0


async def acknowledge(redis: Redis, number: str) -> None:
    both = redis.pipeline(transaction=True)
    both.xack(QUEUE, GROUP, number)
    both.xdel(QUEUE, number)  # without it the stream grows for ever
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
        for number, _ in list(held):
            if await lease(redis, worker, number):  # take from nobody else
                # This resets the idle time; JUSTID does not count a delivery.
                await redis.xclaim(
                    QUEUE, GROUP, worker, 0, [number], justid=True
                )


async def main() -> None:
    await declare()
    await submit(TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
