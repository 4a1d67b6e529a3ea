# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Delayed retry on Kafka: a partition for each delay, read when due."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from aiokafka import AIOKafkaProducer, TopicPartition

from kafka_client import connect, consume, copy, create_topics, run, send, text

TOPIC, WAIT, GROUP = "transcode", "transcode.wait", "transcoders"
DEAD = TopicPartition("transcode.dead", 0)
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
STEPS = 10  # in each range: what failed together comes in ten groups
LIMIT, RANDOM = len(DELAYS) + 1, Random()  # attempts
# In one partition for all, a short delay would wait behind a long one.
PAUSES = [
    low + (high - low) * step / STEPS
    for low, high in DELAYS
    for step in range(STEPS)
]
Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(PAUSES[(attempt - 1) * STEPS : attempt * STEPS])


async def declare() -> None:
    await create_topics(TOPIC)
    await create_topics(WAIT, partitions=len(PAUSES))
    # They are kept for ever: the default of 7 days deletes them unseen.
    await create_topics(DEAD.topic, configs={"retention.ms": "-1"})


async def submit(producer: AIOKafkaProducer, messages: Sequence[str]) -> None:
    for body in messages:
        await send(producer, TOPIC, body)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    opened = consume(GROUP, worker, TOPIC, WAIT)
    async with opened as consumer, connect() as producer:
        while not limit or settled < limit:
            async with consumer.next() as record:
                number, video, headers = 1, "", dict(record.headers)
                try:
                    left = float(headers.get("due") or 0) - time.time()
                    if 0 < left <= max(PAUSES):
                        # What follows in this partition is due even later.
                        consumer.postpone(record, left)
                        continue
                    number = int(headers.get("attempt") or 1)
                    video = str(json.loads(record.value or b"")["video"])
                    await handle(video)
                    settled += 1
                except Exception:
                    to, notes = DEAD, {"attempt": str(number)}
                    if video and 0 < number < LIMIT:
                        pause = delay(number, RANDOM)
                        to = TopicPartition(WAIT, PAUSES.index(pause))
                        due = str(time.time() + pause)
                        notes = {"attempt": str(number + 1), "due": due}
                    else:  # It is malformed: no attempt can help.
                        settled += 1
                    await copy(producer, to, record, notes)
                await consumer.commit(record)  # A crash repeats it.


async def dead() -> list[tuple[str, int]]:
    """Return each body, and how often it was tried."""
    async with consume(None, "operator", DEAD) as consumer:
        return [
            (text(letter), int(dict(letter.headers).get("attempt") or 0))
            async for letter in consumer.rest(DEAD)
        ]


async def main() -> None:
    async def transcode(video: str) -> None:
        print(f"tried {video}")
        raise ConnectionError("the store is away")

    await declare()
    async with connect() as producer:
        await submit(producer, ['{"video": "dog"}', "video=owl"])
    await work("A", transcode, limit=2)
    print("dead:", *sorted(await dead()), sep="\n  ")


if __name__ == "__main__":
    run(main)
