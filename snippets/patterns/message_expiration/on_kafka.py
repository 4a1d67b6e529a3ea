# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Message expiration on Kafka: the worker skips what is too late."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.structs import ConsumerRecord

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
QUEUE, GROUP = TopicPartition("push", 0), "workers"
SESSION = 6_000  # ms until a silent worker is dead; usual: 45_000
LONGEST = 300_000  # ms that a task may take

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        topic = NewTopic(
            QUEUE.topic,
            num_partitions=1,
            replication_factor=1,  # suits one server; 3 on a cluster
            # The server's clock and not each producer's; and a bound to what
            # is kept: the log knows no time for a single message.
            topic_configs={
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": "86400000",
            },
        )
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def submit(tasks: Sequence[str], seconds: float) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        ttl = [("ttl", str(seconds).encode())]
        for task in tasks:
            await producer.send_and_wait(
                QUEUE.topic, task.encode(), partition=0, headers=ttl
            )


def too_late(record: ConsumerRecord) -> bool:
    age = time.time() - record.timestamp / 1000
    try:
        return bool(age > float(dict(record.headers)["ttl"]))
    except (KeyError, TypeError, ValueError):
        return False  # no time, or none that we can read: rather deliver it


@ConsumerRebalanceListener.register
class Busy(asyncio.Lock):
    """Held during a task: a rebalance waits, so that nobody repeats it."""

    async def on_partitions_revoked(self, _: object) -> None:
        async with self:
            pass

    def on_partitions_assigned(self, _: object) -> None:
        pass


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        client_id=worker,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits tasks that are not done yet
        auto_offset_reset="earliest",  # for the first worker ever
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,
        max_poll_interval_ms=LONGEST,
        rebalance_timeout_ms=LONGEST,
    )
    busy = Busy()
    consumer.subscribe([QUEUE.topic], listener=busy)
    done = 0
    try:
        await consumer.start()
        while done != limit:
            record = await consumer.getone()
            async with busy:
                if not too_late(record):
                    body = record.value or b""  # any bytes, or none
                    await handle(body.decode(errors="surrogateescape"))
                    done += 1
                await consumer.commit({QUEUE: record.offset + 1})
    finally:
        await consumer.stop()  # leaves the group, or others wait for SESSION


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    await submit(["push: cat.mp4 is live"], seconds=60)
    await submit(["push: dog.mp4 starts now"], seconds=1)
    print("no worker for two seconds")
    await asyncio.sleep(2)
    await submit(["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
