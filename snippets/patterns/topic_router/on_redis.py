# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Topic router on Redis Streams: a receiver reads all, skips by the key."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from redis_client import add, connect, create_group, run, subscribed

STREAM = "videos"
KEEP = 100_000  # events; who falls further behind loses the oldest
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(
    redis: Redis, receiver: str, patterns: Sequence[str]
) -> None:
    await redis.sadd(f"{STREAM}:{receiver}", *patterns)
    # "$": what is published from now on.
    await create_group(redis, STREAM, receiver, "$")


async def publish(
    redis: Redis, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return None: the broker does not know who reads what."""
    entries = [(STREAM, {"key": key, "body": body}) for key, body in events]
    await add(redis, entries, KEEP)
    return None


def _compile(pattern: str) -> re.Pattern[str]:
    """Make a pattern of words an expression for a key and a dot behind it."""
    words = pattern.split(".")
    return re.compile("".join(SIGNS.get(w, re.escape(w + ".")) for w in words))


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with connect() as redis:
        patterns: Any = await redis.smembers(f"{STREAM}:{receiver}")
        if not patterns:
            raise LookupError(f"{receiver} has no patterns: subscribe() first")
        compiled = [_compile(pattern) for pattern in patterns]
        async for number, fields in subscribed(redis, STREAM, receiver):
            key = fields.get("key", "")
            matching = [p for p in compiled if p.fullmatch(f"{key}.")]
            if matching:
                await handle(key, fields.get("body", str(fields)))
                done += 1
            await redis.xack(STREAM, receiver, number)
            if done == limit:
                return


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    async with connect() as redis:
        await subscribe(redis, "german", ["video.*.de"])
        await subscribe(redis, "player", ["video.transcoded.#"])
        events = [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
        await publish(redis, events)
    print("nobody wants: Redis can't tell")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    run(main)
