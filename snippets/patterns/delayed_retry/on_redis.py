# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Delayed retry on Redis: a set of the tasks that wait, sorted by time."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, pairwise
from random import Random

from redis.asyncio import Redis

from redis_client import Worker, add, connect, create_group, look

# The tag in braces: in a cluster, all three are on one node.
QUEUE, WAITING, DEAD = "{transcode}", "{transcode}:wait", "{transcode}:dead"
KEYS, GROUP = (QUEUE, WAITING), "workers"
LEASE = 30_000  # ms; longer than any task, or renew it (work queue)
LOOK = 100  # ms between two looks at what is due; usual: 1_000
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]

# A script is one step. It ends at its first error: so first add, then remove.
PARK = """
local now = redis.call('TIME')
local due = now[1] * 1000 + now[2] / 1000 + ARGV[1]
redis.call('ZADD', KEYS[2], due, cjson.encode(ARGV))
redis.call('XACK', KEYS[1], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])"""
RETURN = """
local now = redis.call('TIME')
local due = now[1] * 1000 + now[2] / 1000
for _, task in ipairs(redis.call(
    'ZRANGE', KEYS[2], '-inf', due, 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('XADD', KEYS[1], '*', unpack(cjson.decode(task), 4))
  redis.call('ZREM', KEYS[2], task)
end"""

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, messages: Sequence[str]) -> None:
    await add(redis, [(QUEUE, {"body": body}) for body in messages])


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # done or dead
    async with connect() as redis:
        park, come_back = map(redis.register_script, (PARK, RETURN))
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        while limit is None or settled < limit:
            await come_back(KEYS)
            for entry, fields in await queue.take(block=LOOK):
                number, video = 1, ""
                try:
                    number = int(fields.get("attempt", 1))
                    body = fields["body"].encode()  # raises if no UTF-8
                    video = str(json.loads(body)["video"])
                    await handle(video)
                except Exception:
                    if video and 0 < number < LIMIT:
                        again = fields | {"attempt": str(number + 1)}
                        pause = str(round(1000 * delay(number, RANDOM)))
                        task = [pause, GROUP, entry, *chain(*again.items())]
                        await park(KEYS, task)
                        continue
                    # Malformed: at once, as no attempt can help.
                    why = {"attempt": str(number), "x-origin": QUEUE}
                    await add(redis, [(DEAD, fields | why)])
                await queue.settle(entry)
                settled += 1


async def dead(redis: Redis) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    return [
        (letter.get("body", ""), int(letter["attempt"]))
        for _, letter in await look(redis, DEAD)
    ]


async def main() -> None:
    async with connect() as redis:
        await declare(redis)
        times = []

        async def transcode(video: str) -> None:
            if video == "dog":
                times.append(time.monotonic())
                if len(times) < LIMIT:
                    raise ConnectionError("the store is away")
            print(f"transcoded {video}")

        await submit(redis, MESSAGES)
        await work("A", transcode, limit=3)
        pauses = [this - last for last, this in pairwise(times)]
        for (low, _), pause in zip(DELAYS, pauses, strict=True):
            print(f"waited {low} s or more: {pause >= low}")
        print("dead:", *await dead(redis))


if __name__ == "__main__":
    asyncio.run(main())
