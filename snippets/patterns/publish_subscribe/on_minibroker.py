# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Publish-subscribe on the minibroker: each subscriber gets every event."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
CHANNEL = "videos"
Handler = Callable[[str], Awaitable[None]]


async def subscribe(subscriber: str) -> None:
    # It has a queue of its own, which fills up while it is away.
    queue = f"{CHANNEL}.{subscriber}"
    BROKER.declare(queue)
    BROKER.bind(queue, CHANNEL)


async def publish(events: Sequence[str]) -> None:
    for event in events:
        # Confirmed means: each subscriber's queue holds it, in memory only.
        BROKER.publish(CHANNEL, event)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    with BROKER.consume(f"{CHANNEL}.{subscriber}", subscriber) as consumer:
        async for delivery in consumer:
            await handle(delivery.message.body)
            delivery.ack()  # A crash before it loses nothing.
            done += 1
            if done == limit:
                return


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
