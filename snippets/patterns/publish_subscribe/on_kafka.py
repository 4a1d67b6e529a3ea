# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Publish-subscribe on Kafka: every subscriber gets every event."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
VIDEOS = TopicPartition("videos", 0)  # one partition: events stay in order
SESSION = 6_000  # ms until a silent subscriber is dead; usual: 45_000
LONGEST = 300_000  # ms that handling an event may take

Handler = Callable[[str], Awaitable[None]]


async def _declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(VIDEOS.topic, num_partitions=1, replication_factor=1)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


def consumer_of(subscriber: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=subscriber,
        # Kafka forgets the offset of who is away for 7 days; then better
        # everything that is still there than a silent gap.
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # it commits events that are not handled yet
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,
        max_poll_interval_ms=LONGEST,
        rebalance_timeout_ms=LONGEST,
    )


async def subscribe(subscriber: str) -> None:
    await _declare()
    consumer = consumer_of(subscriber)
    consumer.assign([VIDEOS])
    async with consumer:
        # A committed offset is the subscription: here, the topic's end.
        if await consumer.committed(VIDEOS) is None:
            await consumer.commit(await consumer.end_offsets([VIDEOS]))


async def publish(events: Sequence[str]) -> None:
    await _declare()
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        confirms = [
            await producer.send(VIDEOS.topic, event.encode(), partition=0)
            for event in events
        ]
        await asyncio.gather(*confirms)


@ConsumerRebalanceListener.register
class Busy(asyncio.Lock):
    """Held during an event: a rebalance waits, so that nobody repeats it."""

    async def on_partitions_revoked(self, _: object) -> None:
        async with self:
            pass

    def on_partitions_assigned(self, _: object) -> None:
        pass


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    consumer = consumer_of(subscriber)
    busy = Busy()
    consumer.subscribe([VIDEOS.topic], listener=busy)
    done = 0
    try:
        await consumer.start()
        while done != limit:
            record = await consumer.getone()
            async with busy:
                body = record.value or b""  # any bytes, or none
                await handle(body.decode(errors="surrogateescape"))
                await consumer.commit({VIDEOS: record.offset + 1})
            done += 1
    finally:
        await consumer.stop()  # leaves the group, or the next must wait


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def handle(event: str) -> None:
            print(f"{subscriber}: {event}")

        return handle

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
