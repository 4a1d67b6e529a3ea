"""What safety costs on Kafka: acks, flush.messages, and how many records wait at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.benchmarks.measure import (
    BATCHES,
    BODY,
    IN_FLIGHT,
    NO_CONFIRM,
    ONE_BY_ONE,
    Benchmark,
    Publisher,
    Publishers,
    Setting,
    counted,
)
from tests.brokers import Server


@asynccontextmanager
async def topic(
    acks: int | str, server: Server, name: str, _lanes: int, *, flush: bool = False
) -> Publishers:
    """Publish to one partition; with `flush`, Kafka fsyncs what it appends before it answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
    producer = AIOKafkaProducer(
        bootstrap_servers=server.address, acks=acks, enable_idempotence=acks == "all"
    )
    consumer = AIOKafkaConsumer(bootstrap_servers=server.address)
    place = TopicPartition(name, 0)
    await admin.start()
    try:
        configs = {"flush.messages": "1"} if flush else {}
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
        async with producer, consumer:
            # The first needs to learn where the partition is.
            await producer.partitions_for(name)

            async def confirmed(_: int) -> None:
                await producer.send_and_wait(name, BODY, partition=0)

            async def batch(size: int) -> None:
                answers = [await producer.send(name, BODY, partition=0) for _ in range(size)]
                await asyncio.gather(*answers)

            sent = 0

            async def unconfirmed() -> None:
                nonlocal sent
                sent += 1
                await producer.send(name, BODY, partition=0)

            async def stored() -> int:
                return int((await consumer.end_offsets([place]))[place])

            async def arrived() -> None:
                await producer.flush()
                await counted(stored, sent)

            yield Publisher(stored, confirmed, batch, unconfirmed, arrived)
    finally:
        await admin.delete_topics([name])
        await admin.close()


flushed = partial(topic, "all", flush=True)
every_replica = partial(topic, "all")
leader = partial(topic, 1)
nobody = partial(topic, 0)

FLUSHED = "acks=all, flush.messages=1: fsynced"
EVERY_REPLICA = "acks=all: in memory of all replicas"
LEADER = "acks=1: in memory of the leader"
NOBODY = "acks=0: nothing is answered"

BENCHMARK = Benchmark(
    "kafka",
    [
        Setting(FLUSHED, ONE_BY_ONE, 200, flushed),
        Setting(FLUSHED, BATCHES, 600, flushed),
        Setting(FLUSHED, IN_FLIGHT, 600, flushed),
        Setting(EVERY_REPLICA, ONE_BY_ONE, 200, every_replica),
        Setting(EVERY_REPLICA, IN_FLIGHT, 1000, every_replica),
        Setting(LEADER, ONE_BY_ONE, 200, leader),
        Setting(LEADER, IN_FLIGHT, 1000, leader),
        Setting(NOBODY, NO_CONFIRM, 5000, nobody, certain=False),
    ],
)
