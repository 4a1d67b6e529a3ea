# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Publish-subscribe on Redis Streams: every subscriber gets every event."""

from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from redis_client import add, connect, create_group, run, subscribed

CHANNEL = "videos"
KEEP = 100_000  # events; who falls further behind loses the oldest

Handler = Callable[[str], Awaitable[None]]


async def subscribe(redis: Redis, subscriber: str) -> None:
    # Each subscriber has a group. With "$" it begins at what comes now.
    await create_group(redis, CHANNEL, subscriber, "$")


async def publish(redis: Redis, events: Sequence[str]) -> None:
    await add(redis, [(CHANNEL, {"event": event}) for event in events], KEEP)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect() as redis:
        events = subscribed(redis, CHANNEL, subscriber, limit)
        async for number, fields in events:
            await handle(fields.get("event", str(fields)))
            await redis.xack(CHANNEL, subscriber, number)


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    async with connect() as redis:
        await subscribe(redis, "thumbnailer")
        await subscribe(redis, "notifier")
        await publish(redis, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=2)
        print("notifier is away")
        await publish(redis, ["uploaded owl.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=1)
        print("notifier is back")
        await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    run(main)
