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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, GROUP, WORKER = "transcode", "workers", socket.gethostname()
LEASE = 30_000  # ms until a silent worker's task may be claimed
SILENT_SECONDS = 3  # usual: 30
ALIVE = Path(tempfile.gettempdir(), "transcoder.alive")

Handler = Callable[[str], Awaitable[None]]


def beat() -> None:
    """Tell those who watch this process that the broker has answered."""
    ALIVE.touch()
    if watchdog := os.getenv("NOTIFY_SOCKET"):  # systemd's
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            notice.connect(watchdog.replace("@", "\0", 1))
            notice.send(b"READY=1\nWATCHDOG=1")


def healthy() -> bool:
    return time.time() - ALIVE.stat().st_mtime < SILENT_SECONDS


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


async def work(redis: Redis, handle: Handler) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        # What a worker left that is gone; this one goes by another name.
        _, found, _ = await redis.xautoclaim(
            QUEUE, GROUP, WORKER, LEASE, count=1
        )
        if not found:
            new: Any = await redis.xreadgroup(
                GROUP, WORKER, {QUEUE: ">"}, count=1, block=500
            )
            found = new[0][1] if new else []
        beat()  # twice a second, with or without a task
        for number, fields in found:
            renewal = asyncio.create_task(renew(redis, number))
            try:
                await handle(fields.get("task", str(fields)))
            finally:
                renewal.cancel()
            await redis.xack(QUEUE, GROUP, number)
            await redis.xdel(QUEUE, number)


async def renew(redis: Redis, number: str) -> None:
    while True:  # if this fails, nothing beats, and the watchers act
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
    asyncio.run(main())
