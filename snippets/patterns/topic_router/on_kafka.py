# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Topic router on Kafka: each receiver reads all, and skips by the key."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiokafka import AIOKafkaProducer, TopicPartition

import kafka_client
from kafka_client import administer, consume, in_time, run, text

VIDEOS = TopicPartition("videos", 0)  # One partition keeps the order.
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number
EVENTS = [
    ("video.transcoded.de", "cat.mp4"),
    ("video.transcoded.en.4k", "dog.mp4"),
    ("video.uploaded.de", "bee.mp4"),
    ("video.deleted.en", "owl.mp4"),
]
connect = partial(kafka_client.connect, VIDEOS.topic)
Handler = Callable[[str, str], Awaitable[None]]


async def _patterns(receiver: str) -> list[str]:
    """Read the note that stands beside the receiver's committed offset."""
    async with administer() as admin:
        places = await admin.list_consumer_group_offsets(receiver)
    if VIDEOS not in places:
        raise LookupError(f"{receiver} has no patterns: subscribe() first")
    return [str(one) for one in json.loads(places[VIDEOS].metadata)]


async def subscribe(
    _: AIOKafkaProducer, receiver: str, patterns: Sequence[str]
) -> None:
    async with in_time("subscribe"), consume(receiver, "new", VIDEOS) as new:
        place = await new.client.committed(VIDEOS)
        if place is None:  # it begins at the topic's end
            place = (await new.client.end_offsets([VIDEOS]))[VIDEOS]
        else:
            patterns = sorted({*patterns, *await _patterns(receiver)})
        await new.client.commit({VIDEOS: (place, json.dumps(list(patterns)))})


async def publish(
    producer: AIOKafkaProducer, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return None: the broker does not know who reads what."""
    async with in_time("confirms"):
        confirms = [
            await producer.send(VIDEOS.topic, body.encode(), key.encode(), 0)
            for key, body in events
        ]
        await asyncio.gather(*confirms)
    return None


def _compile(pattern: str) -> re.Pattern[str]:
    words = [SIGNS.get(w, re.escape(f"{w}.")) for w in pattern.split(".")]
    return re.compile("".join(words))


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done, patterns = 0, await _patterns(receiver)
    compiled = [_compile(one) for one in patterns]
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
    async def show(receiver: str, key: str, body: str) -> None:
        print(f"{receiver}: {key} {body}")

    async with connect() as producer:
        await subscribe(producer, "german", ["video.*.de"])
        await subscribe(producer, "player", ["video.transcoded.#"])
        await publish(producer, EVENTS)
    print("nobody wants: Kafka can't tell")
    await receive("german", partial(show, "german"), limit=2)
    await receive("player", partial(show, "player"), limit=2)


if __name__ == "__main__":
    run(main)
