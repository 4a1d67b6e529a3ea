# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""A worker in a process of its own, and how its watchers see that it lives."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from redis.asyncio import Redis

from redis_client import (
    Worker,
    add,
    connect,
    create_group,
    end_if_cancelled,
    run,
)

QUEUE, GROUP, WORKER = "transcode", "workers", socket.gethostname()
LEASE = 30_000  # ms until a silent worker's task may be claimed
SILENT_SECONDS = 3  # usual: 30
ALIVE = Path(tempfile.gettempdir(), "transcoder.alive")

Handler = Callable[[str], Awaitable[None]]


def beat() -> None:
    """Tell those who watch this process that the broker has answered."""
    ALIVE.touch()
    if watchdog := os.getenv("NOTIFY_SOCKET"):  # It is systemd's.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            notice.connect(watchdog.replace("@", "\0", 1))
            notice.send(b"READY=1\nWATCHDOG=1")


def healthy() -> bool:
    return time.time() - ALIVE.stat().st_mtime < SILENT_SECONDS


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, tasks: Sequence[str]) -> None:
    await add(redis, [(QUEUE, {"task": task}) for task in tasks])


async def work(redis: Redis, handle: Handler) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    queue = Worker(redis, QUEUE, GROUP, WORKER, LEASE)
    while not stop.is_set():
        held = await queue.take(block=500)
        beat()  # It beats twice a second, with or without a task.
        for number, fields in held:
            renewal = asyncio.create_task(renew(redis, number))
            try:
                await handle(fields.get("task", str(fields)))
            finally:
                renewal.cancel()
            await queue.settle(number)


async def renew(redis: Redis, number: str) -> None:
    while True:  # if this fails, nothing beats, and the watchers act
        end_if_cancelled()
        await redis.xclaim(QUEUE, GROUP, WORKER, 0, [number], justid=True)
        beat()
        await asyncio.sleep(0.5)


async def main() -> None:
    done = asyncio.Queue[str]()
    async with connect() as redis:
        await declare(redis)
        await submit(redis, ["cat.mp4"])
        worker = asyncio.create_task(work(redis, done.put))
        print("done:", await done.get(), "healthy:", healthy())
        # From now on Redis is connected and says nothing, for 4.5 s.
        await redis.client_pause(4_500)
        await asyncio.sleep(4)
        print("silence, healthy:", healthy())
        await asyncio.sleep(2)
        print("again, healthy:", healthy())
        os.kill(os.getpid(), signal.SIGTERM)
        await worker
        print("ended on SIGTERM")


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(not healthy())
    run(main)
