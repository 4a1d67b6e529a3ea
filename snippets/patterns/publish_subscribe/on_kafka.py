# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Publish-subscribe on Kafka: every subscriber gets every event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError

import kafka_client
from kafka_client import consume, in_time, run, text

VIDEOS = "videos"
Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    await kafka_client.create_topics(VIDEOS)
    async with kafka_client.connect() as producer:
        yield producer


async def subscribe(producer: AIOKafkaProducer, subscriber: str) -> None:
    numbers = await producer.partitions_for(VIDEOS)
    places = [TopicPartition(VIDEOS, number) for number in numbers]
    async with (
        consume(subscriber, subscriber, *places) as consumer,
        in_time("a subscription"),
    ):
        # A committed offset is the subscription: here, each partition's end.
        # Kafka forgets it when the subscriber is away for 7 days. The
        # subscriber then gets all that is there, and has no silent gap.
        ends = await consumer.client.end_offsets(places)
        for place, end in ends.items():
            if await consumer.client.committed(place) is None:
                # Kafka refuses this if its receiver runs, which then reads
                # everything.
                with suppress(CommitFailedError):
                    await consumer.client.commit({place: end})


async def publish(producer: AIOKafkaProducer, events: Sequence[str]) -> None:
    async with in_time("confirms"):
        # One partition keeps events in order.
        confirms = [
            await producer.send(VIDEOS, event.encode(), partition=0)
            for event in events
        ]
        await asyncio.gather(*confirms)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with consume(subscriber, subscriber, VIDEOS) as consumer:
        while done != limit:
            async with consumer.next() as record:
                await handle(text(record))
                await consumer.commit(record)
            done += 1


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def handle(event: str) -> None:
            print(f"{subscriber}: {event}")

        return handle

    async with connect() as producer:
        await subscribe(producer, "thumbnailer")
        await subscribe(producer, "notifier")
        await publish(producer, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=2)
        print("notifier is away")
        await publish(producer, ["uploaded owl.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=1)
        print("notifier is back")
        await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    run(main)
