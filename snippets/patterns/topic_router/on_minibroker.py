# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Topic router on the minibroker: who gets an event depends on its key."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    # A queue of its own: it fills up while the receiver is away.
    BROKER.declare(receiver)
    for pattern in patterns:
        BROKER.bind(receiver, pattern)


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    for key, body in events:
        queues = BROKER.publish(key, body, publisher="videos")
        if not queues:  # the confirm names those that hold it
            unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    with BROKER.consume(receiver) as consumer:
        async for delivery in consumer:
            await handle(delivery.message.routing_key, delivery.message.body)
            delivery.ack()  # A crash before it loses nothing.
            done += 1
            if done == limit:
                return


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video.*.de"])
    await subscribe("player", ["video.transcoded.#"])
    unheard = await publish(
        [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
    )
    print(f"nobody wants: {unheard}")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
