# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Partitioned consumers on the minibroker: tasks of a key stay in order."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from zlib import crc32

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
CHANNEL = "videos"
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]
turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)


async def declare(partitions: int = 2) -> None:
    for number in range(partitions):
        BROKER.declare(f"{CHANNEL}.{number}")


def queues() -> list[str]:
    return sorted(name for name in BROKER.queues if name.startswith(CHANNEL))


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    partitions = len(queues())
    if not partitions:
        raise LookupError("no partitions: call declare() first")
    for key, task in tasks:
        # Not hash(): it gives each process another number for the same key.
        number = crc32(key.encode()) % partitions
        BROKER.publish(f"{CHANNEL}.{number}", task)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)

    async def serve(queue: str) -> None:
        async with turns[queue]:  # the others stand by, to take over
            with BROKER.consume(queue, worker) as consumer:
                async for delivery in consumer:
                    await handle(delivery.message.body)
                    delivery.ack()  # A crash before it loses nothing.
                    if next(done) == limit:
                        return

    serving = [asyncio.create_task(serve(queue)) for queue in queues()]
    try:  # side by side: a task that hangs holds up its own queue only
        await next(asyncio.as_completed(serving))
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    asyncio.run(main())
