# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""A batch with partial failure on Kafka: the bad one first, then commit."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, DEAD, GROUP = "views", "views.dead", "counters"
BATCH = 4
VIEWS = ["cat", "dog", "owl", "fox", "elk", "?", "bee", "hen"]

Store = Callable[[list[str]], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        yield producer


async def publish(producer: AIOKafkaProducer, views: Sequence[str]) -> None:
    for view in views:
        await producer.send_and_wait(TOPIC, view.encode())


async def work(store: Store) -> None:
    """Give batches to `store`, which keeps all of one or raises, or both."""
    async with (
        connect() as producer,
        AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=BOOTSTRAP,
            group_id=GROUP,
            enable_auto_commit=False,  # it commits what is not stored yet
            auto_offset_reset="earliest",
        ) as consumer,
    ):
        while True:
            polled = await consumer.getmany(
                timeout_ms=1_000, max_records=BATCH
            )
            for partition, batch in polled.items():
                try:
                    await store([text(record) for record in batch])
                except ValueError:  # one of them is bad: which?
                    for record in batch:
                        try:
                            await store([text(record)])
                        except ValueError as error:
                            await bury(producer, record, str(error))
                # One number for all: no record can be left out, so the bad
                # one is elsewhere, and confirmed, before this.
                await consumer.commit({partition: batch[-1].offset + 1})


async def bury(
    producer: AIOKafkaProducer, record: ConsumerRecord, reason: str
) -> None:
    where = f"{record.topic}/{record.partition}/{record.offset}"
    why = [("x-reason", reason.encode()), ("x-origin", where.encode())]
    await producer.send_and_wait(
        DEAD, record.value, record.key, headers=[*record.headers, *why]
    )


def text(record: ConsumerRecord) -> str:
    return (record.value or b"").decode(errors="surrogateescape")


async def dead(_: AIOKafkaProducer) -> list[str]:
    async with AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP) as consumer:
        consumer.assign([TopicPartition(DEAD, 0)])
        await consumer.seek_to_beginning()
        return [text(await consumer.getone())]


async def main() -> None:
    async def store(views: list[str]) -> None:
        if "?" in views:
            raise ValueError("not a video: ?")
        stored.put_nowait("stored " + " ".join(views))

    stored = asyncio.Queue[str]()
    async with connect() as producer:
        await publish(producer, VIEWS)
        worker = asyncio.create_task(work(store))
        async with asyncio.timeout(60):
            for _ in range(4):  # one batch, and three of the other
                print(await stored.get())
        await asyncio.sleep(1)  # and settles
        print("dead:", *await dead(producer))
        worker.cancel()
        await asyncio.wait([worker])


if __name__ == "__main__":
    asyncio.run(main())
