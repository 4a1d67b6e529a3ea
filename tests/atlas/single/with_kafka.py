"""Kafka, by aiokafka: create a topic, publish, consume in a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.brokers.clients import SECONDS, comes
from tests.brokers.kafka import ask

TOPIC, GROUP = "videos", "workers"


async def create(
    address: str, name: str = TOPIC, partitions: int = 1, **configuration: str
) -> list[TopicPartition]:
    """Create a topic, and wait until the server tells of it; `retention_ms` is `retention.ms`."""
    named = {key.replace("_", "."): value for key, value in configuration.items()}
    topic = NewTopic(name, partitions, 1, topic_configs=named)
    await ask(address, lambda admin: admin.create_topics([topic]))

    async def there() -> bool:
        [found] = await ask(address, lambda admin: admin.describe_topics([name]))
        return len(found["partitions"]) == partitions

    await comes(there)
    return [TopicPartition(name, number) for number in range(partitions)]


async def configured(address: str, name: str = TOPIC) -> dict[str, str]:
    """Return all settings of a topic, those that it has from the server too."""
    wanted = ConfigResource(ConfigResourceType.TOPIC, name)
    [answer] = await ask(address, lambda admin: admin.describe_configs([wanted]))
    [(_, _, _, _, settings)] = answer.resources
    return {setting[0]: setting[1] for setting in settings}


async def alter(address: str, name: str = TOPIC, **configuration: str) -> None:
    """Change settings of a topic; `retention_ms` is `retention.ms`."""
    named = {key.replace("_", "."): value for key, value in configuration.items()}
    wanted = ConfigResource(ConfigResourceType.TOPIC, name, named)
    [answer] = await ask(address, lambda admin: admin.alter_configs([wanted]))
    assert all(error == 0 for error, *_ in answer.resources)


@asynccontextmanager
async def producing(address: str, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Start a producer with aiokafka's defaults but for what is given."""
    producer = AIOKafkaProducer(bootstrap_servers=address, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def publish(
    address: str, numbers: Iterable[int], name: str = TOPIC, partitions: int = 1
) -> None:
    """Publish each number, to the partitions in turn, and wait for its confirm."""
    async with producing(address, acks="all") as producer:
        for number in numbers:
            await producer.send_and_wait(name, b"%d" % number, partition=number % partitions)


@asynccontextmanager
async def consuming(
    address: str, *names: str, group: str | None = GROUP, **settings: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer with aiokafka's defaults but for what is given.

    It waits for a record for ever, so there is an end to all that is done with it.
    """
    topics = names or (TOPIC,)
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=address, group_id=group, **settings)
    await consumer.start()
    try:
        async with asyncio.timeout(3 * SECONDS):
            yield consumer
    finally:
        await consumer.stop()


async def stored(address: str, place: TopicPartition) -> list[str]:
    """Return the values of all records in a partition, in its order."""
    oldest = {"auto_offset_reset": "earliest"}
    async with consuming(address, place.topic, group=None, **oldest) as reader:
        end = (await reader.end_offsets([place]))[place]
        found: list[str] = []
        while await reader.position(place) < end:
            found.append((await reader.getone(place)).value.decode())
        return found
