# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The views are kept in a log, and a new reader begins with the first one."""

import asyncio
from collections import Counter

from minibroker import Broker

BROKER = Broker()
EVENTS = ("cat.mp4 AT", "dog.mp4 AT", "cat.mp4 FR")


async def count(field: int) -> dict[str, int]:
    views: Counter[str] = Counter()
    events = BROKER.read("views", "reader", offset=0)
    for _ in BROKER.logs["views"]:  # The replay ends where the log ends.
        event = await anext(events)
        views[event.body.split()[field]] += 1
    return dict(views)


async def main() -> None:
    for event in EVENTS:
        BROKER.append("views", event)
    print("by video:", await count(0))
    print("by country:", await count(1))


if __name__ == "__main__":
    asyncio.run(main())
