# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Delayed retry on Kafka: a topic for each delay, read when it is due."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from random import Random

from aiokafka import AIOKafkaProducer, TopicPartition

from kafka_client import connect, consume, copy, create_topics, send, text

TOPIC, GROUP = "transcode", "transcoders"
DEAD = TopicPartition("transcode.dead", 0)
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT, RANDOM = len(DELAYS) + 1, Random()  # attempts
Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(DELAYS[attempt - 1])  # more choices spread finer


# In one topic for all, a short delay would wait behind a long one.
WAITS = {pause: f"{TOPIC}.wait.{pause}" for pause in chain(*DELAYS)}


async def declare() -> None:
    await create_topics(TOPIC, *WAITS.values())
    # Kept for ever: usual are 7 days, and then they are gone unseen.
    await create_topics(DEAD.topic, configs={"retention.ms": "-1"})


async def submit(producer: AIOKafkaProducer, messages: Sequence[str]) -> None:
    for body in messages:
        await send(producer, TOPIC, body)


async def work(
    producer: AIOKafkaProducer,
    worker: str,
    handle: Handler,
    limit: int | None = None,
) -> None:
    settled = 0  # done or dead
    async with consume(GROUP, worker, TOPIC, *WAITS.values()) as consumer:
        while not limit or settled < limit:
            async with consumer.next() as record:
                number, video, headers = 1, "", dict(record.headers)
                try:
                    left = float(headers.get("due") or 0) - time.time()
                    if 0 < left <= max(WAITS):
                        # All that follows in this topic is due even later.
                        consumer.postpone(record, left)
                        continue
                    number = int(headers.get("attempt") or 1)
                    video = str(json.loads(record.value or b"")["video"])
                    await handle(video)
                    settled += 1
                except Exception:
                    to, notes = DEAD.topic, {"attempt": str(number)}
                    if video and 0 < number < LIMIT:
                        pause = delay(number, RANDOM)
                        to, notes["attempt"] = WAITS[pause], str(number + 1)
                        notes["due"] = str(time.time() + pause)
                    else:  # malformed: at once, as no attempt can help
                        settled += 1
                    await copy(producer, to, record, notes)
                await consumer.commit(record)  # last


async def dead() -> list[tuple[str, int]]:
    """Return each body, and how often it was tried."""
    async with consume(None, "operator", DEAD) as consumer:
        return [
            (text(letter), int(dict(letter.headers)["attempt"]))
            async for letter in consumer.rest(DEAD)
        ]


async def main() -> None:
    async def transcode(video: str) -> None:
        print(f"tried {video}")
        raise ConnectionError("the store is away")

    await declare()
    async with connect() as producer:
        await submit(producer, ['{"video": "dog"}', "video=owl"])
        await work(producer, "A", transcode, limit=2)
    print("dead:", *sorted(await dead()), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
