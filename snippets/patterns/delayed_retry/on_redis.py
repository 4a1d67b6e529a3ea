# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Delayed retry on Redis: a set of the tasks that wait, sorted by time."""

import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from random import Random

from redis.asyncio import Redis

from redis_client import Worker, add, connect, create_group, look, now, run

# By the tag in braces, all three are on one node of a cluster.
QUEUE, WAITING, DEAD = "{transcode}", "{transcode}:wait", "{transcode}:dead"
GROUP = "workers"
LEASE = 30_000  # ms; longer than any task, or renew it (work queue)
LOOK = 100  # ms between two looks at what is due; usual: 1_000
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
# A script is one step. It ends at its first error: so first add, then remove.
RETURN = """
for _, task in ipairs(redis.call(
    'ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 100)) do
  redis.call('XADD', KEYS[1], '*', unpack(cjson.decode(task), 2))
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
    settled = 0  # It counts what is done or dead.
    async with connect() as redis:
        come_back = redis.register_script(RETURN)
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        while limit is None or settled < limit:
            await come_back([QUEUE, WAITING], [await now(redis)])
            for entry, fields in await queue.take(block=LOOK):
                number, video = 1, ""
                try:
                    number = int(fields.get("attempt", 1))
                    body = fields["body"].encode()  # It must be UTF-8.
                    video = str(json.loads(body)["video"])
                    await handle(video)
                except Exception:
                    if video and 0 < number < LIMIT:
                        again = fields | {"attempt": str(number + 1)}
                        # Its number is in it: two equal tasks are two members.
                        flat = [entry, *chain(*again.items())]
                        task = json.dumps(flat, ensure_ascii=False)
                        due = await now(redis) + delay(number, RANDOM)
                        settle = queue.settling(entry)  # It is one step.
                        settle.zadd(WAITING, {task: due})
                        await settle.execute()
                        continue
                    # Malformed: at once, as no attempt can help.
                    why = {"attempt": str(number), "x-origin": QUEUE}
                    await add(redis, [(DEAD, fields | why)])
                await queue.settle(entry)
                settled += 1


async def dead(redis: Redis) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    letters = [fields for _, fields in await look(redis, DEAD)]
    return [(it.get("body", ""), int(it.get("attempt", 0))) for it in letters]


async def main() -> None:
    async def transcode(video: str) -> None:
        print(f"tried {video}")
        raise ConnectionError("the store is away")

    async with connect() as redis:
        await declare(redis)
        await submit(redis, ['{"video": "dog"}', "video=owl"])
        await work("A", transcode, limit=2)
        print("dead:", *sorted(await dead(redis)), sep="\n  ")


if __name__ == "__main__":
    run(main)
