# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Delayed retry on Kafka: a topic for each delay, read when it is due."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, pairwise
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, GROUP = "transcode", "transcoders"
DEAD = TopicPartition("transcode.dead", 0)
SAFE: Any = {"bootstrap_servers": BOOTSTRAP, "enable_idempotence": True}
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT, RANDOM = len(DELAYS) + 1, Random()  # attempts
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]
Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(DELAYS[attempt - 1])  # more choices spread finer


# In one topic for all, a short delay would wait behind a long one.
WAITS = {pause: f"{TOPIC}.wait.{pause}" for pause in chain(*DELAYS)}
TOPICS = {TOPIC, *WAITS.values()}


async def declare() -> None:
    # One replica suits one server; on a cluster take 3.
    new = [NewTopic(name, 1, replication_factor=1) for name in TOPICS]
    # Kept for ever: usual are 7 days, and then they are gone unseen.
    kept = {"retention.ms": "-1"}
    new.append(NewTopic(DEAD.topic, 1, 1, topic_configs=kept))
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        answer = await admin.create_topics(new)
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


def consuming(group: str | None, name: str, *topics: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        client_id=name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=1,
    )


async def submit(messages: Sequence[str]) -> None:
    async with AIOKafkaProducer(**SAFE) as producer:
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            await producer.send_and_wait(TOPIC, raw, headers=noted(1))


def noted(attempt: int, pause: float = 0) -> list[tuple[str, bytes]]:
    due = time.time() + pause
    return [("attempt", b"%d" % attempt), ("due", b"%f" % due)]


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    due: dict[TopicPartition, float] = {}
    producer = AIOKafkaProducer(**SAFE)
    async with producer, consuming(GROUP, worker, *TOPICS) as c:
        while not limit or settled < limit:
            c.resume(*(p for p in c.paused() if due[p] <= time.time()))
            polled = await c.getmany(timeout_ms=100)  # usual: 1_000
            for place, [record] in polled.items():
                body, number, video = record.value or b"", 1, ""
                try:
                    note = dict(record.headers)
                    number = int(note.get("attempt", 1))
                    due[place] = float(note.get("due", 0))
                    if due[place] > time.time():
                        # All that follows in this topic is due even later.
                        c.pause(place)
                        c.seek(place, record.offset)
                        continue
                    video = str(json.loads(body)["video"])
                    await handle(video)
                    settled += 1
                except Exception:
                    if video and 0 < number < LIMIT:
                        pause = delay(number, RANDOM)
                        to, headers = WAITS[pause], noted(number + 1, pause)
                    else:  # malformed: at once, as no attempt can help
                        to, headers = DEAD.topic, noted(number)
                        settled += 1
                    await producer.send_and_wait(to, body, headers=headers)
                await c.commit({place: record.offset + 1})  # last


async def dead() -> list[tuple[str, int]]:
    found = []  # each body, and how often it was tried
    async with consuming(None, "operator") as consumer:
        consumer.assign([DEAD])
        end = (await consumer.end_offsets([DEAD]))[DEAD]
        while await consumer.position(DEAD) < end:
            letter = await consumer.getone()
            body = letter.value.decode(errors="surrogateescape")
            found.append((body, int(dict(letter.headers)["attempt"])))
    return found


async def main() -> None:
    await declare()
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(MESSAGES)
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
