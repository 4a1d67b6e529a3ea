# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Partitioned consumers on Kafka: the tasks of a key stay in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import InvalidPartitionsError

from kafka_client import (
    administer,
    connect,
    consume,
    create_topics,
    in_time,
    run,
    text,
)

CHANNEL, GROUP = "videos", "workers"
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]
Handler = Callable[[str], Awaitable[None]]


async def declare(partitions: int = 2) -> None:
    await create_topics(CHANNEL, partitions=partitions)
    async with administer() as admin:
        more = {CHANNEL: NewPartitions(total_count=partitions)}
        with suppress(InvalidPartitionsError):  # it has as many, or more
            await admin.create_partitions(more)
        [found] = await admin.describe_topics([CHANNEL])
        while len(found["partitions"]) < partitions:  # It knows fewer yet.
            await asyncio.sleep(0.1)
            [found] = await admin.describe_topics([CHANNEL])


async def submit(
    producer: AIOKafkaProducer, tasks: Sequence[tuple[str, str]]
) -> None:
    async with in_time("confirms"):
        confirms = [  # the client hashes the key to a partition
            await producer.send(CHANNEL, task.encode(), key=key.encode())
            for key, task in tasks
        ]
        await asyncio.gather(*confirms)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)

    async def serve(partition: TopicPartition) -> None:
        while True:
            async with consumer.next(partition) as record:
                await handle(text(record))
                await consumer.commit(record)
            if next(done) == limit:
                return

    async with consume(GROUP, worker, CHANNEL) as consumer:
        # Side by side: a task that hangs holds up its partition only.
        await consumer.each_partition(serve)


async def main() -> None:
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    await declare()
    async with connect() as producer:
        await submit(producer, TASKS[:4])
        try:
            await work("A", note)
        except RuntimeError as error:
            print("A:", ", ".join(handled), "...", error)
        await submit(producer, TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    run(main)
