# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""A window of confirms on Kafka: the client sends them in batches."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

import kafka_client
from kafka_client import create_topics, in_time, run

TOPIC = "transcode"
WINDOW = 500  # a request takes a batch of them, so more than elsewhere


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    size = 256 * 1024  # bytes in a batch; the default is 16 KiB
    async with kafka_client.connect(max_batch_size=size) as producer:
        yield producer


async def declare(_: AIOKafkaProducer) -> None:
    await create_topics(TOPIC)


async def submit(
    producer: AIOKafkaProducer, tasks: Iterable[str], window: int = WINDOW
) -> None:
    unconfirmed = deque[asyncio.Future[object]]()
    for task in tasks:
        unconfirmed.append(await producer.send(TOPIC, task.encode()))
        if len(unconfirmed) == window:
            async with in_time("confirm"):
                await unconfirmed.popleft()  # the oldest, or its error
    async with in_time("the last confirms"):
        await asyncio.gather(*unconfirmed)


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as producer:
        await declare(producer)
        await submit(producer, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    run(main)
