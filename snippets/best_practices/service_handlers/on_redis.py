# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Several handlers at once on Redis Streams: each task has its own XACK."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from redis_client import Worker, add, connect, create_group, run

QUEUE, GROUP, WORKER = "transcode", "workers", f"transcoder-{os.getpid()}"
LEASE = 2_000  # ms until a silent worker's task may be claimed; usual: 30_000
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, tasks: Sequence[str]) -> None:
    await add(redis, [(QUEUE, {"task": task}) for task in tasks])


async def _safely(handle: Handler, name: str) -> None:
    try:
        await handle(name)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # the worker is to end
            raise
        # A TaskGroup would let that pass, and go on without this handler.
        raise RuntimeError(f"cancelled in its handler: {name}") from error


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    async def take_turns(queue: Worker) -> None:
        while True:
            # A turn that waits here has a connection of the client's pool.
            held = await queue.take()
            async with queue.renewed(held):
                for number, fields in held:
                    await _safely(handle, fields.get("task", str(fields)))
                    await queue.settle(number)  # It acks this task alone.

    async with connect() as redis:
        queue = Worker(redis, QUEUE, GROUP, WORKER, LEASE)
        try:
            async with asyncio.TaskGroup() as handlers:
                for _ in range(at_once):
                    handlers.create_task(take_turns(queue))
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
        await asyncio.sleep(3)  # It acknowledges, on a busy machine too.
        worker.cancel()  # This is as if its process ended.
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    run(main)
