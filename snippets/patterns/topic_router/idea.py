# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Topic router: each receiver tells the broker which events it wants."""

import asyncio

from minibroker import Broker

RECEIVERS = {"german": "video.*.de", "archive": "video.#"}
EVENTS = {
    "video.uploaded.de": "cat.mp4",
    "video.deleted.en": "dog.mp4",
    "video.deleted.de": "bee.mp4",
}


async def main() -> None:
    broker = Broker()
    for receiver, pattern in RECEIVERS.items():
        broker.declare(receiver)
        broker.bind(receiver, pattern)
    for key, video in EVENTS.items():
        broker.publish(key, video)
    for receiver in RECEIVERS:
        waiting = broker.find(receiver).ready
        videos = [each.message.body for each in waiting]
        print(receiver, "gets", *videos or ["nothing: they are lost"])


if __name__ == "__main__":
    asyncio.run(main())
