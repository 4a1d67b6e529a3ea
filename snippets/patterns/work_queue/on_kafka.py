# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Work queue on Kafka: each task goes to one worker, crash or no."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

from aiokafka import AIOKafkaProducer

from kafka_client import connect, consume, create_topics, in_time, run

TOPIC, GROUP = "transcode", "transcoders"
PARTITIONS = 2  # no more workers than partitions are ever busy
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]
# It begins anywhere: short programs would otherwise all fill partition 0.
turns = cycle(random.sample(range(PARTITIONS), PARTITIONS))


async def declare() -> None:
    await create_topics(TOPIC, partitions=PARTITIONS)


async def submit(producer: AIOKafkaProducer, tasks: Sequence[str]) -> None:
    async with in_time("confirms"):
        # In turn, for equal shares; by itself the client takes any.
        confirms = [
            await producer.send(TOPIC, task.encode(), partition=next(turns))
            for task in tasks
        ]
        await asyncio.gather(*confirms)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    # Nothing can limit it: a partition is one worker's, with all it holds.
    del prefetch
    done = 0
    async with consume(GROUP, worker, TOPIC) as consumer:
        while done != limit:
            async with consumer.next() as record:
                body = record.value or b""  # any bytes, or none
                await handle(body.decode(errors="surrogateescape"), None)
                await consumer.commit(record)
            done += 1


async def main() -> None:
    await declare()
    async with connect() as producer:
        await submit(producer, TASKS)
    print(f"confirmed {len(TASKS)} tasks")
    deliveries: dict[str, int | None] = {}

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")
    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    run(main)
