# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Topic router on Kafka: each receiver reads all, and skips by the key."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer, TopicPartition

import kafka_client
from kafka_client import administer, consume, in_time, text

VIDEOS = TopicPartition("videos", 0)  # one partition: events stay in order
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number
EVENTS = [
    ("video.transcoded.de", "cat.mp4"),
    ("video.transcoded.en.4k", "dog.mp4"),
    ("video.uploaded.de", "bee.mp4"),
    ("video.deleted.en", "owl.mp4"),
]
Handler = Callable[[str, str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    await kafka_client.create_topics(VIDEOS.topic)
    async with kafka_client.connect() as producer:
        yield producer


async def _patterns(receiver: str) -> list[str]:
    """Read the note that stands beside the receiver's committed offset."""
    async with administer() as admin:
        places = await admin.list_consumer_group_offsets(receiver)
    return [str(one) for one in json.loads(places[VIDEOS].metadata)]


async def subscribe(
    _: AIOKafkaProducer, receiver: str, patterns: Sequence[str]
) -> None:
    """Add patterns to those of a receiver, while it is not running."""
    async with (
        consume(receiver, receiver, VIDEOS) as consumer,
        in_time("a subscription"),
    ):
        place = await consumer.client.committed(VIDEOS)
        if place is None:  # new: it begins at the topic's end
            place = (await consumer.client.end_offsets([VIDEOS]))[VIDEOS]
        else:
            patterns = sorted({*patterns, *await _patterns(receiver)})
        note = json.dumps(list(patterns))
        await consumer.client.commit({VIDEOS: (place, note)})


async def publish(
    producer: AIOKafkaProducer, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return None: the broker does not know who reads what."""
    topic, number = VIDEOS
    async with in_time("confirms"):
        confirms = [
            await producer.send(topic, body.encode(), key.encode(), number)
            for key, body in events
        ]
        await asyncio.gather(*confirms)
    return None


def _compile(pattern: str) -> re.Pattern[str]:
    """Make a pattern of words an expression for a key and a dot behind it."""
    words = pattern.split(".")
    return re.compile("".join(SIGNS.get(w, re.escape(w + ".")) for w in words))


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    patterns = await _patterns(receiver)
    compiled = [_compile(one) for one in patterns]
    done = 0
    async with consume(receiver, receiver, VIDEOS.topic) as consumer:
        while done != limit:
            async with consumer.next() as record:
                key = (record.key or b"").decode(errors="surrogateescape")
                matching = [p for p in compiled if p.fullmatch(f"{key}.")]
                if matching:
                    await handle(key, text(record))
                    done += 1
                # Each commit carries the patterns on, or they would be lost.
                await consumer.commit(record, json.dumps(patterns))


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def handle(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return handle

    async with connect() as producer:
        await subscribe(producer, "german", ["video.*.de"])
        await subscribe(producer, "player", ["video.transcoded.#"])
        await publish(producer, EVENTS)
    print("nobody wants: Kafka can't tell")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
