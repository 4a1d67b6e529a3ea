# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Topic router on Redis Streams: a receiver reads all, skips by the key."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
STREAM = "videos"
KEEP = 100_000  # events; who falls further behind loses the oldest
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    async with Redis.from_url(URL) as redis:
        await redis.sadd(f"{STREAM}:{receiver}", *patterns)
        try:  # "$": what is published from now on
            await redis.xgroup_create(STREAM, receiver, "$", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return None: the broker does not know who reads what."""
    # No retries: a request that timed out may have added the events already.
    async with Redis.from_url(URL, retry=None) as redis:
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for key, body in events:
            requests.xadd(STREAM, {"key": key, "body": body}, maxlen=KEEP)
        # Wait for fsync, but less than the client waits for the server, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the events are not on the server's disk")
    return None


def _compile(pattern: str) -> re.Pattern[str]:
    """Make a pattern of words an expression for a key and a dot behind it."""
    words = pattern.split(".")
    return re.compile("".join(SIGNS.get(w, re.escape(w + ".")) for w in words))


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    # No retries: ">" again would skip the event of an answer that got lost.
    async with Redis.from_url(
        URL,
        decode_responses=True,
        encoding_errors="surrogateescape",  # any bytes
        socket_timeout=None,
        retry=None,
    ) as redis:
        patterns: Any = await redis.smembers(f"{STREAM}:{receiver}")
        compiled = [_compile(pattern) for pattern in patterns]
        after = "0"  # first what it got but never acknowledged, then ">": new
        done = 0
        while limit is None or done < limit:
            streams: Any = await redis.xreadgroup(
                receiver, receiver, {STREAM: after}, count=1, block=1_000
            )
            entries = [entry for _, found in streams for entry in found]
            for number, fields in entries:
                if fields:  # else it is older than what the stream keeps
                    key = fields.get("key", "")
                    matching = [p for p in compiled if p.fullmatch(f"{key}.")]
                    if matching:
                        await handle(key, fields.get("body", str(fields)))
                        done += 1
                await redis.xack(STREAM, receiver, number)
            if not entries:
                after = ">"


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video.*.de"])
    await subscribe("player", ["video.transcoded.#"])
    await publish(
        [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
    )
    print("nobody wants: Redis can't tell")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
