# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Topic router, as one writes it first: the producer knows its receivers."""

import asyncio

from minibroker import Broker

RECEIVERS = "german", "archive"
EVENTS = {
    "video.uploaded.de": "cat.mp4",
    "video.deleted.en": "dog.mp4",
    "video.deleted.de": "bee.mp4",
}


async def main() -> None:
    broker = Broker()
    for receiver in RECEIVERS:
        broker.declare(receiver)
    for key, video in EVENTS.items():
        if key.endswith(".de"):
            broker.publish("german", video)
    for receiver in RECEIVERS:
        waiting = broker.find(receiver).ready
        videos = [each.message.body for each in waiting]
        print(receiver, "gets", *videos or ["nothing: they are lost"])


if __name__ == "__main__":
    asyncio.run(main())
