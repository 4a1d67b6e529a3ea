"""Dead letters that none of our workers would write, or write so: they are kept, and are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import nats
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from paho.mqtt import publish
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from redis.asyncio import Redis

from tests.brokers import Server
from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.patterns.stage import Stage

FOREIGN = b"of another program"
TASK = b'{"video": "cat.mp4"}'


async def _rabbitmq(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(FOREIGN, headers={"attempt": "many"})
        await channel.default_exchange.publish(message, "transcode.dead")


async def _kafka(servers: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait("transcode.dead", FOREIGN)


async def _nats(url: str) -> None:
    async with await nats.connect(url) as connection:
        await connection.jetstream().publish("transcode-dead", FOREIGN)


async def _redis(url: str) -> None:
    async with Redis.from_url(url) as redis:
        await redis.xadd("{transcode}:dead", {"body": FOREIGN})


async def _mqtt(url: str) -> None:
    await asyncio.to_thread(put, url, "dead/transcode/another", FOREIGN, retain=True)


def put(url: str, topic: str, body: bytes, *, retain: bool = False, expiry: int = 0) -> None:
    place = urlsplit(url)
    properties = Properties(PacketTypes.PUBLISH)
    if expiry:
        properties.MessageExpiryInterval = expiry
    message: Any = {
        "topic": topic,
        "payload": body,
        "qos": 1,
        "retain": retain,
        "properties": properties,
    }
    # With no name and a clean start, as a publisher is on its own.
    publish.multiple(
        [message], hostname=place.hostname or "", port=place.port or 1883, protocol=MQTTv5
    )


PUT: dict[str, Callable[[str], Awaitable[None]]] = {
    "rabbitmq": _rabbitmq,
    "kafka": _kafka,
    "nats": _nats,
    "redis": _redis,
    "mqtt": _mqtt,
}


@pytest.mark.parametrize("pattern", ["dead_letter_channel", "delayed_retry"])
@pytest.mark.parametrize("key", [pytest.param(k, marks=pytest.mark.broker(k)) for k in PUT])
def test_a_letter_of_another_program_hides_no_other(
    key: str, pattern: str, server: Server, tmp_path: Path
) -> None:
    """It has neither a reason nor a number of attempts."""
    with Stage.of(f"patterns/{pattern}", key, server, tmp_path) as stage:
        stage.call("declare")
        asyncio.run(PUT[key](server.address))  # type: ignore[arg-type]
        stage.call("submit", messages=["video=owl.mp4"])
        worker = stage.spawn("work", worker="A", limit=1)
        assert stage.happens(lambda: worker.ended, worker)
        # RabbitMQ moves a dead letter in its own time.
        assert stage.happens(lambda: len(stage.call("dead")) == 2, worker)
        bodies = sorted(letter[0] for letter in stage.call("dead"))
        assert bodies == [FOREIGN.decode(), "video=owl.mp4"]


@pytest.mark.broker(Kafka.key)
@pytest.mark.parametrize("pattern", ["dead_letter_channel", "delayed_retry"])
def test_a_letter_is_found_although_its_topic_has_several_partitions(
    pattern: str, server: Server, tmp_path: Path
) -> None:
    """So it is where somebody else has made the topic; a key takes its letters to any of them."""

    async def prepare() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic("transcode.dead", 3, 1)])
        finally:
            await admin.close()

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=server.address) as producer:
            for number in range(6):
                await producer.send_and_wait("transcode", b"odd", b"%d" % number)

    with Stage.of(f"patterns/{pattern}", Kafka.key, server, tmp_path) as stage:
        asyncio.run(prepare())
        stage.call("declare")
        asyncio.run(send())
        worker = stage.spawn("work", worker="A", limit=6)
        assert stage.happens(lambda: worker.ended, worker)
        assert len(stage.call("dead")) == 6


@pytest.mark.broker(Mosquitto.key)
@pytest.mark.parametrize("pattern", ["dead_letter_channel", "delayed_retry"])
@pytest.mark.parametrize(
    ("body", "expiry", "kept"),
    [
        pytest.param(b"", 0, "(empty)", id="no body"),
        pytest.param(b"video=owl.mp4", 2, "video=owl.mp4", id="expires"),
    ],
)
def test_a_letter_stays_although_its_task_would_not(
    pattern: str, body: bytes, expiry: int, kept: str, server: Server, tmp_path: Path
) -> None:
    """It is a retained message: without a body it would be none, and one that expires is gone."""
    with Stage.of(f"patterns/{pattern}", Mosquitto.key, server, tmp_path) as stage:
        stage.call("declare")
        worker = stage.spawn("work", worker="A", limit=1)
        put(server.address, "transcode", body, expiry=expiry)
        assert stage.happens(lambda: worker.ended, worker)
        assert stage.stays(
            lambda: [letter[0] for letter in stage.call("dead")] == [kept], expiry + 1.5
        )


@pytest.mark.broker(Mosquitto.key)
def test_a_letter_that_nobody_takes_again_stays(server: Server, tmp_path: Path) -> None:
    """The server confirms a message that no session is subscribed to, and drops it."""
    with Stage.of("patterns/dead_letter_channel", Mosquitto.key, server, tmp_path) as stage:
        put(server.address, "dead/transcode/1", TASK, retain=True)
        operator = stage.spawn("dead", redrive=True)
        assert stage.happens(lambda: operator.ended, operator)
        assert "no session takes it" in operator.error
        assert [letter[0] for letter in stage.call("dead")] == [TASK.decode()]


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize("pattern", ["dead_letter_channel", "delayed_retry"])
def test_a_failure_is_not_the_end_of_a_worker_without_a_limit(
    pattern: str, server: Server, tmp_path: Path
) -> None:
    """With a limit of 0, the count of what is settled would be there before the first message."""
    with Stage.of(f"patterns/{pattern}", "rabbitmq", server, tmp_path) as stage:
        stage.call("declare")
        stage.call("submit", messages=[TASK.decode()])
        worker = stage.spawn("work", worker="A", mode="fail", limit=0)
        assert stage.happens(lambda: len(worker.taken) == 3, worker)
        assert not worker.ended
