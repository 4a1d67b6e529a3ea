# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""A batch with partial failure on Kafka: the bad one first, then commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition

from kafka_client import connect, consume, copy, create_topics, run, send, text

TOPIC, DEAD, GROUP = "views", "views.dead", "counters"
BATCH = 4
VIEWS = ["cat", "dog", "owl", "fox", "elk", "?", "bee", "hen"]

Store = Callable[[list[str]], Awaitable[None]]


async def declare(_: AIOKafkaProducer) -> None:
    await create_topics(TOPIC, DEAD)


async def publish(producer: AIOKafkaProducer, views: Sequence[str]) -> None:
    for view in views:
        await send(producer, TOPIC, view)


async def work(store: Store) -> None:
    """Give batches to `store`, which keeps all of one or raises, or both."""
    async with (
        connect() as producer,
        consume(GROUP, "counter", TOPIC) as consumer,
    ):
        while True:
            async with consumer.many(BATCH) as polled:
                for batch in polled.values():
                    try:
                        await store([text(record) for record in batch])
                    except ValueError:  # One of them is bad, but which?
                        for record in batch:
                            try:
                                await store([text(record)])
                            except ValueError as error:
                                why = {"x-reason": str(error)}
                                await copy(producer, DEAD, record, why)
                    # One number for all: no record can be left out, so the
                    # bad one is elsewhere, and confirmed, before this.
                    await consumer.commit(batch[-1])


async def dead(_: AIOKafkaProducer) -> list[str]:
    place = TopicPartition(DEAD, 0)
    async with consume(None, "operator", place) as consumer:
        return [text(letter) async for letter in consumer.rest(place)]


async def main() -> None:
    async def store(views: list[str]) -> None:
        if "?" in views:
            raise ValueError("not a video: ?")
        stored.put_nowait("stored " + " ".join(views))

    stored = asyncio.Queue[str]()
    async with connect() as producer:
        await declare(producer)
        await publish(producer, VIEWS)
        worker = asyncio.create_task(work(store))
        async with asyncio.timeout(60):
            for _ in range(4):  # It sends one batch, and three of the other.
                print(await stored.get())
        await asyncio.sleep(3)  # It settles, on a busy machine too.
        print("dead:", *await dead(producer))
        worker.cancel()
        await asyncio.wait([worker])


if __name__ == "__main__":
    run(main)
