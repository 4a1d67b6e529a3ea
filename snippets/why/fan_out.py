# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Fan-out: a new subscriber gets a copy, and the publisher stays as it is."""

import asyncio

from minibroker import Broker

BROKER = Broker()
EVENT = "video.uploaded"
LOG = "uploads"


def subscribe(subscriber: str) -> None:
    BROKER.declare(subscriber)  # a queue of its own
    BROKER.bind(subscriber, EVENT)


def publish(video: str) -> None:
    """Say what happened; who wants to know is not in here."""
    copies = BROKER.publish(EVENT, video)
    BROKER.append(LOG, video)  # All read one record.
    print(f"{video}: {len(copies)} copies in queues, 1 record in the log")


def received(subscriber: str) -> str:
    videos: list[str] = []
    with BROKER.consume(subscriber, subscriber) as events:
        while events.unacked:
            event = events.unacked[0]
            videos.append(event.message.body)
            event.ack()
    return f"{subscriber}: {' '.join(videos)}"


async def replayed(group: str) -> str:
    """Read the log from its beginning to its present end."""
    videos: list[str] = []
    async for record in BROKER.read(LOG, group, offset=0):
        videos.append(record.body)
        if record.id + 1 == len(BROKER.logs[LOG]):
            break
    return f"{group}, from the log: {' '.join(videos)}"


async def main() -> None:
    subscribe("thumbnailer")
    subscribe("notifier")
    publish("cat.mp4")
    print("billing subscribes")
    subscribe("billing")
    publish("dog.mp4")
    for subscriber in ("thumbnailer", "notifier", "billing"):
        print(received(subscriber))
    print(await replayed("billing"))


if __name__ == "__main__":
    asyncio.run(main())
