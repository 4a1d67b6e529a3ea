# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The views are read from a queue, and what was counted is gone."""

import asyncio
from collections import Counter

from minibroker import Broker

BROKER = Broker()
EVENTS = ("cat.mp4 AT", "dog.mp4 AT", "cat.mp4 FR")


async def count(field: int) -> dict[str, int]:
    views: Counter[str] = Counter()
    with BROKER.consume("views", "reader") as consumer:
        while consumer.unacked:  # Each acknowledgement brings the next event.
            event = await anext(aiter(consumer))
            views[event.message.body.split()[field]] += 1
            event.ack()
    return dict(views)


async def main() -> None:
    BROKER.declare("views")
    for event in EVENTS:
        BROKER.publish("views", event)
    print("by video:", await count(0))
    print("by country:", await count(1))


if __name__ == "__main__":
    asyncio.run(main())
