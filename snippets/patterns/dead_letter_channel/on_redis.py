# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Dead letter channel on Redis: a stream that the worker writes to."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE, DEAD, GROUP = "transcode", "transcode:dead", "workers"
LEASE = 30_000  # ms; longer than any task, or renew it (work queue)
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


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
            requests.xadd(QUEUE, {"body": raw})
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the messages are not on the server's disk")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # done or dead
    # No decode_responses: one body that is not UTF-8 would stop the client.
    async with Redis.from_url(URL, socket_timeout=None) as redis:
        while not limit or settled < limit:
            _, held, _ = await redis.xautoclaim(
                QUEUE, GROUP, worker, LEASE, count=1
            )
            if not held:
                streams: Any = await redis.xreadgroup(
                    GROUP, worker, {QUEUE: ">"}, 1, block=500
                )
                held = [entry for _, new in streams for entry in new]
            for entry, fields in held:
                [pending] = await redis.xpending_range(
                    QUEUE, GROUP, entry, entry, 1
                )
                number = int(pending["times_delivered"])
                video = ""
                try:
                    if number > LIMIT:  # its workers died, or were too slow
                        raise TimeoutError("no answer to the last attempt")
                    video = str(json.loads(fields[b"body"])["video"])
                    await handle(video)
                except Exception as error:
                    if video and number < LIMIT:
                        # As if the lease were over: the next gets it at once.
                        mine = QUEUE, GROUP, worker, 0, [entry], LEASE
                        await redis.xclaim(*mine, justid=True)
                        continue
                    reason, tried = repr(error)[:200], min(number, LIMIT)
                    await bury(redis, fields, reason, tried)
                both = redis.pipeline(transaction=True)
                both.xack(QUEUE, GROUP, entry)
                both.xdel(QUEUE, entry)
                await both.execute()
                settled += 1


async def bury(
    redis: Redis, fields: dict[Any, Any], reason: str, tried: int
) -> None:
    await redis.xadd(DEAD, fields | {"reason": reason, "attempts": tried})


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async with Redis.from_url(URL, retry=None) as redis:
        letters: list[Any] = await redis.xrange(DEAD) or []
        for entry, letter in letters:
            body = letter.get(b"body", b"").decode(errors="surrogateescape")
            reason = letter.pop(b"reason").decode()
            found.append((body, reason, int(letter.pop(b"attempts"))))
            if redrive:
                both = redis.pipeline(transaction=True)
                both.xadd(QUEUE, letter)
                both.xdel(DEAD, entry)
                await both.execute()
    return found


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
