# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Message expiration on Kafka: the worker skips what is too late."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from math import inf

from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from kafka_client import (
    connect,
    consume,
    create_topics,
    number_in,
    run,
    send,
    text,
)

QUEUE, GROUP = "push", "workers"
CONFIGS = {
    # The server's clock, and not each producer's.
    "message.timestamp.type": "LogAppendTime",
    # A bound to what is kept: the log knows no time for a single message.
    "retention.ms": "86400000",
}
Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    await create_topics(QUEUE, configs=CONFIGS)


async def submit(
    producer: AIOKafkaProducer, tasks: Sequence[str], seconds: float
) -> None:
    ttl = [("ttl", str(seconds).encode())]
    for task in tasks:
        await send(producer, QUEUE, task.encode(), headers=ttl)


def too_late(record: ConsumerRecord) -> bool:
    age = time.time() - record.timestamp / 1000
    # Without a time, or with none that we can read: rather deliver it.
    return bool(age > number_in(record, "ttl", inf))


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = 0
    async with consume(GROUP, worker, QUEUE) as consumer:
        while done != limit:
            async with consumer.next() as record:
                if not too_late(record):
                    await handle(text(record))
                    done += 1
                await consumer.commit(record)


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    async with connect() as producer:
        await submit(producer, ["push: cat.mp4 is live"], seconds=60)
        await submit(producer, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(producer, ["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
