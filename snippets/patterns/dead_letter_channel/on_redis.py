# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Dead letter channel on Redis: a stream that the worker writes to."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from redis_client import Entry, Worker, add, connect, create_group, look, run

# By the tag in braces, both are on one node of a cluster.
QUEUE, DEAD, GROUP = "{transcode}", "{transcode}:dead", "workers"
LEASE = 30_000  # ms; longer than any task, or renew it (work queue)
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, QUEUE, GROUP)


async def submit(redis: Redis, messages: Sequence[str]) -> None:
    await add(redis, [(QUEUE, {"body": body}) for body in messages])


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    async with connect() as redis:
        queue = Worker(redis, QUEUE, GROUP, worker, LEASE)
        while limit is None or settled < limit:
            for number, fields in await queue.take(block=500):
                delivery, video = await queue.delivery(number), ""
                try:
                    if delivery > LIMIT:  # its workers died, or were too slow
                        raise TimeoutError("no answer to the last attempt")
                    body = fields["body"].encode()  # It must be UTF-8.
                    video = str(json.loads(body)["video"])
                    await handle(video)
                except Exception as error:
                    if video and delivery < LIMIT:
                        await queue.hand_back(number)
                        continue
                    tried, why = min(delivery, LIMIT), repr(error)[:200]
                    await bury(redis, (number, fields), why, tried)
                await queue.settle(number)
                settled += 1


async def bury(redis: Redis, entry: Entry, reason: str, tried: int) -> None:
    number, fields = entry  # whatever fields it has, they stay
    more = {"reason": reason, "attempts": str(tried)}
    more["x-origin"] = f"{QUEUE} {number}"
    await add(redis, [(DEAD, fields | more)])


async def dead(
    redis: Redis, redrive: bool = False
) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    for number, letter in await look(redis, DEAD):
        why = letter.pop("reason", "?"), int(letter.pop("attempts", 0))
        found.append((letter.get("body", ""), *why))
        if redrive:
            both = redis.pipeline(transaction=True)
            back: Any = letter | {"x-origin": f"{DEAD} {number}"}
            both.xadd(QUEUE, back)
            both.xdel(DEAD, number)
            await both.execute()
    return found


async def main() -> None:
    async with connect() as redis:
        await declare(redis)
        await submit(redis, MESSAGES)
        unknown = {"dog.mp4"}

        async def transcode(video: str) -> None:
            if video in unknown:
                raise RuntimeError("unknown codec")
            print(f"transcoded {video}")

        await work("A", transcode, limit=3)
        print("dead:", *sorted(await dead(redis)), sep="\n  ")
        unknown.clear()  # a new transcoder is installed
        await dead(redis, redrive=True)
        await work("A", transcode, limit=2)
        print("dead again:", *await dead(redis), sep="\n  ")


if __name__ == "__main__":
    run(main)
