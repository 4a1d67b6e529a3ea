# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Delayed retry on Redis: a set of the tasks that wait, sorted by time."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, WAITING, DEAD = "transcode", "transcode:wait", "transcode:dead"
GROUP = "workers"
LEASE = 30_000  # ms; longer than any task, or renew it (work queue)
LOOK = 100  # ms between two looks at what is due; usual: 1_000
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]

# A script is one step. It ends at its first error: so first add, then remove.
PARK = """
local now = redis.call('TIME')
local due = now[1] * 1000 + now[2] / 1000 + ARGV[4]
redis.call('ZADD', KEYS[2], due, ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])"""
RETURN = """
local now = redis.call('TIME')
local due = now[1] * 1000 + now[2] / 1000
for _, task in ipairs(redis.call(
    'ZRANGE', KEYS[2], '-inf', due, 'BYSCORE', 'LIMIT', 0, 100)) do
  local attempt, body = task:match('^(%d+) %S+ (.*)$')
  redis.call('XADD', KEYS[1], '*', 'body', body, 'attempt', attempt)
  redis.call('ZREM', KEYS[2], task)
end"""

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


async def declare() -> None:
    async with Redis.from_url(URL) as redis:
        try:
            await redis.xgroup_create(QUEUE, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def submit(messages: Sequence[str]) -> None:
    # No retries: a request that timed out may have added them already.
    async with Redis.from_url(URL, retry=None) as redis:
        requests = redis.pipeline(transaction=False)
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            requests.xadd(QUEUE, {"body": raw, "attempt": 1})
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the messages are not on the server's disk")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # done or dead
    async with Redis.from_url(URL, socket_timeout=None) as redis:
        run: Any = redis.eval
        while not limit or settled < limit:
            await run(RETURN, 2, QUEUE, WAITING)
            _, held, _ = await redis.xautoclaim(
                QUEUE, GROUP, worker, LEASE, count=1
            )
            if not held:
                streams: Any = await redis.xreadgroup(
                    GROUP, worker, {QUEUE: ">"}, 1, block=LOOK
                )
                held = [entry for _, new in streams for entry in new]
            for entry, fields in held:
                body, number, video = fields.get(b"body", b""), 1, ""
                try:
                    number = int(fields.get(b"attempt", 1))
                    video = str(json.loads(body)["video"])
                    await handle(video)
                except Exception:
                    if video and 0 < number < LIMIT:
                        task = b"%d %s %s" % (number + 1, entry, body)
                        pause = 1000 * delay(number, RANDOM)
                        place = QUEUE, WAITING, GROUP, entry, task, pause
                        await run(PARK, 2, *place)
                        continue
                    # Malformed: at once, as no attempt can help.
                    await redis.xadd(DEAD, fields | {b"attempt": number})
                both = redis.pipeline(transaction=True)
                both.xack(QUEUE, GROUP, entry)
                both.xdel(QUEUE, entry)
                await both.execute()
                settled += 1


async def dead() -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    async with Redis.from_url(URL) as redis:
        letters: list[Any] = await redis.xrange(DEAD) or []
    found = []
    for _, letter in letters:
        body = letter.get(b"body", b"").decode(errors="surrogateescape")
        found.append((body, int(letter[b"attempt"])))
    return found


async def main() -> None:
    await declare()
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(MESSAGES)
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
