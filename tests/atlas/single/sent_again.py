"""A producer sends one message again, as its confirm got lost: where does it stand?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.atlas.single import lost, with_kafka, with_mqtt, with_nats, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_postgresql import connect
from tests.brokers import Server
from tests.brokers.clients import jetstream

ASKED = "sent-again"
AT_THE_END, ONCE = "again at the end", "once, in order"
FIRST_AND_LAST = "The first message was there twice, at its place and after the others."


async def _rabbitmq(server: Server, *numbers: int) -> list[int]:
    async with with_rabbitmq.opened(server.address) as channel:
        queue = await with_rabbitmq.declare(channel)
        await with_rabbitmq.publish(channel, numbers)
        return await with_rabbitmq.rest(queue)


@trial(
    ASKED,
    "rabbitmq",
    "many messages in flight",
    default=True,
    holds=False,
    short=AT_THE_END,
    says=FIRST_AND_LAST,
)
def rabbitmq_many_in_flight(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, 0, 1, 2, 0)) == [0, 1, 2, 0]
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "one message in flight: the next is published after the confirm",
    holds=False,
    short="twice, in order",
    says="The first message was there twice, one behind the other, and before the others.",
)
def rabbitmq_one_in_flight(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, 0, 0, 1, 2)) == [0, 0, 1, 2]
    return {}


async def _kafka(server: Server, **settings: Any) -> list[str]:
    """Let the first confirm get lost while two more records wait to be sent."""
    [place] = await with_kafka.create(server.address)
    confirms: list[asyncio.Future[Any]] = []

    async def send_the_others() -> None:
        confirms.extend([await producer.send(place.topic, body) for body in (b"1", b"2")])

    async with lost.on_kafka(server.address, send_the_others, **settings) as producer:
        await producer.send_and_wait(place.topic, b"0")
        await asyncio.gather(*confirms)
    return await with_kafka.stored(server.address, place)


@trial(
    ASKED,
    "kafka",
    "aiokafka's default, `acks=1` without `enable_idempotence`",
    default=True,
    holds=False,
    short="twice, in order",
    says="The client held the others back until it had sent the first again: that was there twice, before the others.",
)
def kafka_without_idempotence(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server)) == ["0", "0", "1", "2"]
    return {}


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`",
    holds=True,
    short=ONCE,
    says="The client sent the first again and then the others, and each was there once, in order.",
    documented=Documented(
        agrees=True,
        says="With `enable.idempotence`, the order is kept also where the client sends again.",
        source="https://kafka.apache.org/44/configuration/producer-configs/#producerconfigs_max.in.flight.requests.per.connection",
    ),
)
def kafka_idempotent(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, enable_idempotence=True)) == ["0", "1", "2"]
    return {}


async def _nats(server: Server, *, with_ids: bool) -> list[str]:
    async with jetstream(server) as stream:
        for body in "0120":
            headers = {"Nats-Msg-Id": body} if with_ids else {}
            await stream.publish(with_nats.STREAM, body.encode(), headers=headers)
        return await with_nats.there(stream)


@trial(
    ASKED,
    "nats",
    "no `Nats-Msg-Id`",
    default=True,
    holds=False,
    short=AT_THE_END,
    says=FIRST_AND_LAST,
)
def nats_without_an_id(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, with_ids=False)) == ["0", "1", "2", "0"]
    return {}


@trial(
    ASKED,
    "nats",
    "`Nats-Msg-Id`",
    holds=True,
    short=ONCE,
    says="The copy was confirmed as a duplicate and not stored: each was there once, in order.",
    documented=Documented(
        agrees=True,
        says="The server refuses to store the same `Nats-Msg-Id` twice within the stream's window for duplicates, of two minutes by default, and its confirm says that it was a duplicate.",
        source="https://docs.nats.io/learn/jetstream/publishing#avoiding-duplicate-writes",
    ),
)
def nats_message_id(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, with_ids=True)) == ["0", "1", "2"]
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD … *`",
    default=True,
    holds=False,
    short=AT_THE_END,
    says=FIRST_AND_LAST,
    documented=Documented(
        agrees=True,
        says="A retry may add a message twice; Redis 8.6 and later have `XADD … IDMP` against it.",
        source="https://redis.io/docs/latest/develop/data-types/streams/idempotency/",
    ),
)
def redis_server_makes_the_id(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.add(client, 0, 1, 2, 0)
        assert with_redis.there(client) == ["0", "1", "2", "0"]
    return {}


def _redis(server: Server, bodies: Iterable[int]) -> list[str]:
    """Publish these in order, under ids of the producer's own, and then 0 again."""
    with with_redis.connected(server) as client:
        for body in bodies:
            client.xadd(with_redis.STREAM, {"body": body}, id=f"7-{body + 1}")
        with pytest.raises(ResponseError, match="equal or smaller than the target stream top item"):
            client.xadd(with_redis.STREAM, {"body": 0}, id="7-1")
        there = with_redis.there(client)
        client.delete(with_redis.STREAM)
        return there


@trial(
    ASKED,
    "redis",
    "`XADD` with ids of the producer's own, `7-1`, `7-2`, …",
    holds=False,
    short="refused, lost or not",
    says="The copy was refused with an error where the first had arrived, and in the same words where the first had never arrived, as a later entry was there: only `XRANGE` tells which.",
    documented=Documented(
        agrees=True,
        says="An explicit id has to be greater than any other in the stream; else the command fails with an error.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_producer_makes_the_id(server: Server) -> Numbers:
    assert _redis(server, [0, 1, 2]) == ["0", "1", "2"]
    assert _redis(server, [1, 2]) == ["1", "2"]
    return {}


def _mqtt(server: Server, qos: int, came: str) -> None:
    with with_mqtt.session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos", qos)
        lost.on_mqtt(server, qos, "012")
        worker.comes(*came)
        worker.settled()
        assert worker.bodies() == [*came]


@trial(
    ASKED,
    "mqtt",
    "QoS 1, a durable session of the producer",
    default=True,
    holds=False,
    short="all three again",
    says="The connection ended with three messages unconfirmed, the client sent all three again, and the worker got 0, 1, 2, 0, 1, 2.",
    documented=Documented(
        agrees=True,
        says="MQTT-4.4.0-1: when a session goes on, what is not acknowledged has to be sent again, and at no other time.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901238",
    ),
)
def mqtt_qos_1(server: Server) -> Numbers:
    _mqtt(server, 1, "012012")
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 2 from end to end, a durable session of the producer",
    holds=True,
    short=ONCE,
    says="The connection ended with three messages unconfirmed, the client sent all three again, and the worker got each once, in order.",
)
def mqtt_qos_2(server: Server) -> Numbers:
    _mqtt(server, 2, "012")
    return {}


def _postgresql(server: Server, column: str, conflict: str) -> list[int]:
    with connect(server) as connection:
        connection.execute(
            "CREATE TABLE tasks"
            f" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id int {column})"
        )
        for number in (0, 1, 2, 0):
            connection.execute(f"INSERT INTO tasks (message_id) VALUES (%s) {conflict}", [number])
        rows = connection.execute("SELECT message_id FROM tasks ORDER BY id")
        return [number for (number,) in rows]


@trial(
    ASKED,
    "postgresql",
    "a queue table without a constraint",
    default=True,
    holds=False,
    short=AT_THE_END,
    says=FIRST_AND_LAST,
)
def postgresql_without_a_constraint(server: Server) -> Numbers:
    assert _postgresql(server, "NOT NULL", "") == [0, 1, 2, 0]
    return {}


@trial(
    ASKED,
    "postgresql",
    "`UNIQUE (message_id)`, `ON CONFLICT DO NOTHING`",
    holds=True,
    short=ONCE,
    says="The copy was not inserted: each was there once, in order.",
)
def postgresql_unique(server: Server) -> Numbers:
    assert _postgresql(server, "UNIQUE", "ON CONFLICT DO NOTHING") == [0, 1, 2]
    return {}
