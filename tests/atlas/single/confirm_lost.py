"""The confirm gets lost and the producer sends again: is the message there twice?"""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest
from redis.exceptions import ResponseError

from tests.atlas.single import lost, with_kafka, with_mqtt, with_nats, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_postgresql import connect
from tests.brokers import Server
from tests.brokers.clients import jetstream

ASKED = "confirm-lost"
ID = "5f0c1a52-6e1f-4f6e-9a55-2d1c9e1d7a01"
TWICE, ONCE = "twice", "once"


async def _rabbitmq(server: Server, kind: str) -> int:
    """Publish one message twice; return how many are there."""
    async with with_rabbitmq.opened(server.address) as channel:
        queue = await with_rabbitmq.declare(channel, kind)
        for _ in range(2):
            message = aio_pika.Message(b"0", message_id=ID)
            await channel.default_exchange.publish(message, queue.name)
        return len(await with_rabbitmq.rest(queue))


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue, `message_id` set",
    default=True,
    holds=False,
    short=TWICE,
    says="The message was there twice; the queue did not look at its id.",
    documented=Documented(
        agrees=True,
        says="What is published is deduplicated in the stream protocol, for streams; AMQP 0-9-1 does not support it.",
        source="https://www.rabbitmq.com/docs/stream-core-plugin-comparison",
    ),
)
def rabbitmq_classic(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, "classic")) == 2
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "a quorum queue, `message_id` set",
    holds=False,
    short=TWICE,
    says="The message was there twice; the queue did not look at its id.",
)
def rabbitmq_quorum(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, "quorum")) == 2
    return {}


async def _kafka(server: Server, times: int = 1, **settings: Any) -> list[str]:
    """Let the first confirm get lost; return what is there when each call was confirmed."""
    [place] = await with_kafka.create(server.address)
    async with lost.on_kafka(server.address, **settings) as producer:
        for _ in range(times):
            await producer.send_and_wait(place.topic, b"0")
    return await with_kafka.stored(server.address, place)


@trial(
    ASKED,
    "kafka",
    "aiokafka's default, `acks=1` without `enable_idempotence`",
    default=True,
    holds=False,
    short=TWICE,
    says="The client sent the record again by itself, and it was there twice; the call returned once, without an error.",
    documented=Documented(
        agrees=True,
        says="A message that is sent again may be written again, if the first request had succeeded.",
        source="https://kafka.apache.org/44/design/design/#message-delivery-semantics",
    ),
)
def kafka_without_idempotence(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server)) == ["0", "0"]
    return {}


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`, which sends again by itself",
    holds=True,
    short=ONCE,
    says="The client sent the record again by itself, the server knew its sequence number, and it was there once.",
    documented=Documented(
        agrees=True,
        says="With idempotent delivery, resending makes no duplicate: the broker knows each message's sequence number.",
        source="https://kafka.apache.org/44/design/design/#message-delivery-semantics",
    ),
)
def kafka_idempotent(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, enable_idempotence=True)) == ["0"]
    return {}


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`, where the application sends again",
    holds=False,
    short=TWICE,
    says="The application called `send` a second time with the same record, and it was there twice: the call gave it a new sequence number.",
    documented=Documented(
        agrees=True,
        says="An application must not send again by itself: that can't be deduplicated.",
        source="https://kafka.apache.org/40/javadoc/org/apache/kafka/clients/producer/KafkaProducer.html",
    ),
)
def kafka_application_sends_again(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, times=2, enable_idempotence=True)) == ["0", "0"]
    return {}


async def _nats(server: Server, headers: dict[str, str]) -> tuple[bool, list[str]]:
    """Publish one message twice; return whether the second was called a duplicate, and all."""
    async with jetstream(server) as stream:
        for _ in range(2):
            ack = await stream.publish(with_nats.STREAM, b"0", headers=headers)
        return bool(ack.duplicate), await with_nats.there(stream)


@trial(
    ASKED,
    "nats",
    "no `Nats-Msg-Id`",
    default=True,
    holds=False,
    short=TWICE,
    says="The message was there twice.",
)
def nats_without_an_id(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, {})) == (False, ["0", "0"])
    return {}


@trial(
    ASKED,
    "nats",
    "`Nats-Msg-Id`",
    holds=True,
    short=ONCE,
    says="The message was there once, and the second confirm said that it was a duplicate.",
    documented=Documented(
        agrees=True,
        says="The server refuses to store the same `Nats-Msg-Id` twice within the stream's window for duplicates, of two minutes by default, and its confirm says that it was a duplicate.",
        source="https://docs.nats.io/learn/jetstream/publishing#avoiding-duplicate-writes",
    ),
)
def nats_message_id(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, {"Nats-Msg-Id": ID})) == (True, ["0"])
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD … *`",
    default=True,
    holds=False,
    short=TWICE,
    says="The entry was there twice, under two ids.",
    documented=Documented(
        agrees=True,
        says="A retry may add a message twice; Redis 8.6 and later have `XADD … IDMP` against it.",
        source="https://redis.io/docs/latest/develop/data-types/streams/idempotency/",
    ),
)
def redis_server_makes_the_id(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.add(client, 0, 0)
        assert with_redis.there(client) == ["0", "0"]
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD` with an id of the producer's own, such as `7-0`",
    holds=True,
    short="once, refused",
    says="The copy was refused with an error, as its id was not above the last one, and the entry was there once.",
    documented=Documented(
        agrees=True,
        says="An explicit id has to be greater than any other in the stream; else the command fails with an error.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_producer_makes_the_id(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        with pytest.raises(ResponseError, match="equal or smaller than the target stream top item"):
            client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert with_redis.there(client) == ["0"]
    return {}


def _mqtt(server: Server, qos: int, came: list[str]) -> None:
    with with_mqtt.session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos", qos)
        lost.on_mqtt(server, qos, ["0"])
        worker.comes(*came)
        worker.settled()
        assert worker.bodies() == came
        assert not any(message.dup for message in worker.received)


@trial(
    ASKED,
    "mqtt",
    "QoS 1, a durable session of the producer",
    default=True,
    holds=False,
    short=TWICE,
    says="The client sent the message again when it was back, and the worker got it twice, neither marked as a duplicate: the mark is for one hop.",
    documented=Documented(
        agrees=True,
        says="MQTT-3.3.1-3: the duplicate flag of an incoming packet is not passed on to subscribers.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901102",
    ),
)
def mqtt_qos_1(server: Server) -> Numbers:
    _mqtt(server, 1, ["0", "0"])
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 2 from end to end, a durable session of the producer",
    holds=True,
    short=ONCE,
    says="The client sent the message again when it was back, the server knew its packet, and the worker got it once.",
    documented=Documented(
        agrees=True,
        says="QoS 2 delivers a message exactly once, by a handshake of four steps.",
        source="https://mosquitto.org/man/mqtt-7.html",
    ),
)
def mqtt_qos_2(server: Server) -> Numbers:
    _mqtt(server, 2, ["0"])
    return {}


def _postgresql(server: Server, column: str, insert: str) -> list[int]:
    """Insert one message twice; return how many rows each statement made."""
    with connect(server) as connection:
        connection.execute(f"CREATE TABLE tasks (message_id uuid {column}, body text)")
        made = [connection.execute(insert, [ID, "0"]).rowcount for _ in range(2)]
        assert connection.execute("SELECT body FROM tasks").fetchall() == [("0",)] * sum(made)
    return made


INSERT = "INSERT INTO tasks VALUES (%s, %s)"


@trial(
    ASKED,
    "postgresql",
    "a queue table without a constraint",
    default=True,
    holds=False,
    short=TWICE,
    says="The message was there twice.",
)
def postgresql_without_a_constraint(server: Server) -> Numbers:
    assert _postgresql(server, "NOT NULL", INSERT) == [1, 1]
    return {}


@trial(
    ASKED,
    "postgresql",
    "`UNIQUE (message_id)`, `ON CONFLICT DO NOTHING`",
    holds=True,
    short=ONCE,
    says="The message was there once, and the second statement said that it had inserted nothing.",
)
def postgresql_unique(server: Server) -> Numbers:
    assert _postgresql(server, "UNIQUE", f"{INSERT} ON CONFLICT DO NOTHING") == [1, 0]
    return {}
