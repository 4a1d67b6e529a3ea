# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Backpressure on Kafka: the producer reads the lag first, and waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import kafka_client
from kafka_client import connect, consume, create_topics, in_time, send, text

TOPIC, GROUP = "transcode", "transcoders"
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(2)]
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
RETENTION = 7 * 24 * 3600 * 1000  # ms; then a task is deleted, done or not
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]
# It begins anywhere: short programs would otherwise all fill partition 0.
turns = cycle(random.sample(range(len(PARTITIONS)), len(PARTITIONS)))


async def declare() -> None:
    configs = {"retention.ms": str(RETENTION)}
    await create_topics(TOPIC, partitions=len(PARTITIONS), configs=configs)


async def submit(
    producer: AIOKafkaProducer, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the topic has taken."""
    # It reads no tasks and joins no group: it only asks how far they are.
    async with consume(GROUP, "watcher", *PARTITIONS) as watcher:
        for confirmed, task in enumerate(tasks):
            pause, deadline = 0.05, time.monotonic() + patience
            # Another producer may send in between: LIMIT is not exact.
            while await unfinished(watcher.client) >= LIMIT:
                if time.monotonic() > deadline:
                    return confirmed  # the caller decides about the rest
                # At random: producers must not all come back at once.
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
            await send(producer, TOPIC, task.encode(), partition=next(turns))
        return len(tasks)


async def unfinished(watcher: AIOKafkaConsumer) -> int:
    """Return the group's lag."""
    async with in_time("the lag"):
        ends = await watcher.end_offsets(PARTITIONS)
        starts = await watcher.beginning_offsets(PARTITIONS)
        done = {p: await watcher.committed(p) or 0 for p in PARTITIONS}
    return sum(ends[p] - max(done[p], starts[p]) for p in PARTITIONS)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    # Nothing can limit it: a partition is one worker's, with all it holds.
    del prefetch
    done = 0
    async with consume(GROUP, worker, TOPIC) as consumer:
        while done != limit:
            async with consumer.next() as record:
                await handle(text(record))
                await consumer.commit(record)
            done += 1


async def main() -> None:
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await declare()
    async with connect() as producer:
        confirmed = await submit(producer, TASKS, patience=0.2)
        print(
            f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full"
        )
        await work("A", note, limit=8 - confirmed)
        more = await submit(producer, TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of 8 tasks")


if __name__ == "__main__":
    kafka_client.run(main)
