# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Publish-subscribe on Redis Streams: every subscriber gets every event."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CHANNEL = "videos"
KEEP = 100_000  # events; who falls further behind loses the oldest

Handler = Callable[[str], Awaitable[None]]


async def subscribe(subscriber: str) -> None:
    async with Redis.from_url(URL) as redis:
        try:  # "$": what is published from now on
            await redis.xgroup_create(CHANNEL, subscriber, "$", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise


async def publish(events: Sequence[str]) -> None:
    # No retries: a request that timed out may have added the events already.
    async with Redis.from_url(URL, retry=None) as redis:
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for event in events:
            requests.xadd(CHANNEL, {"event": event}, maxlen=KEEP)
        # Wait for fsync, but less than the client waits for the server, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the events are not on the server's disk")


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
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
        after = "0"  # first what it got but never acknowledged, then ">": new
        done = 0
        while limit is None or done < limit:
            streams: Any = await redis.xreadgroup(
                subscriber, subscriber, {CHANNEL: after}, count=1, block=1_000
            )
            entries = [entry for _, found in streams for entry in found]
            for number, fields in entries:
                if fields:  # else it is older than what the stream keeps
                    await handle(fields.get("event", str(fields)))
                    done += 1
                await redis.xack(CHANNEL, subscriber, number)
            if not entries:
                after = ">"


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
