# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Topic router on Kafka: each receiver reads all, and skips by the key."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
VIDEOS = TopicPartition("videos", 0)  # one partition: events stay in order
SESSION = 6_000  # ms until a silent receiver is dead; usual: 45_000
SIGNS = {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}  # one word; any number

Handler = Callable[[str, str], Awaitable[None]]


async def _declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(VIDEOS.topic, num_partitions=1, replication_factor=1)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def _patterns(receiver: str) -> list[str]:
    """Read the note that stands beside the receiver's committed offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        places = await admin.list_consumer_group_offsets(receiver)
        return [str(one) for one in json.loads(places[VIDEOS].metadata)]
    finally:
        await admin.close()


def _consumer(receiver: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=receiver,
        auto_offset_reset="none",  # no place, no patterns: subscribe first
        enable_auto_commit=False,  # it commits events that are not handled yet
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,
    )


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    """Add patterns to those of a receiver, while it is not running."""
    await _declare()
    consumer = _consumer(receiver)
    consumer.assign([VIDEOS])
    async with consumer:
        place = await consumer.committed(VIDEOS)
        if place is None:  # new: it begins at the topic's end
            place = (await consumer.end_offsets([VIDEOS]))[VIDEOS]
        else:
            patterns = sorted({*patterns, *await _patterns(receiver)})
        await consumer.commit({VIDEOS: (place, json.dumps(list(patterns)))})


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return None: the broker does not know who reads what."""
    await _declare()
    topic, number = VIDEOS
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
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
    consumer = _consumer(receiver)
    consumer.subscribe([VIDEOS.topic])
    done = 0
    try:
        await consumer.start()
        while done != limit:
            record = await consumer.getone()
            key = (record.key or b"").decode(errors="surrogateescape")
            body = (record.value or b"").decode(errors="surrogateescape")
            matching = [p for p in compiled if p.fullmatch(f"{key}.")]
            if matching:
                await handle(key, body)
                done += 1
            # Each commit carries the patterns on, or they would be lost.
            note = json.dumps(patterns)
            await consumer.commit({VIDEOS: (record.offset + 1, note)})
    finally:
        await consumer.stop()  # leaves the group, or the next must wait


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def handle(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return handle

    await subscribe("german", ["video.*.de"])
    await subscribe("player", ["video.transcoded.#"])
    await publish(
        [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
    )
    print("nobody wants: Kafka can't tell")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
