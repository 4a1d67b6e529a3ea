"""How often has this message come? Does the broker tell?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import redis
from aio_pika.abc import AbstractIncomingMessage

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, jetstream
from tests.types import test_share_groups as share

ASKED = "how-often"


def _nack(message: AbstractIncomingMessage) -> Any:
    return message.nack(requeue=True)


def _reject(message: AbstractIncomingMessage) -> Any:
    return message.reject(requeue=True)


async def _third(
    server: Server, kind: str, give_back: Callable[[AbstractIncomingMessage], Any]
) -> tuple[bool | None, dict[str, Any]]:
    """Give a message back twice; return what its third delivery says."""
    async with with_rabbitmq.opened(server.address) as channel:
        queue = await with_rabbitmq.declare(channel, kind)
        await with_rabbitmq.publish(channel, [0])
        taken = asyncio.Queue[AbstractIncomingMessage]()
        await queue.consume(taken.put)
        for _ in range(2):
            await give_back(await asyncio.wait_for(taken.get(), SECONDS))
        third = await asyncio.wait_for(taken.get(), SECONDS)
        return third.redelivered, dict(third.headers)


@trial(
    ASKED,
    "rabbitmq",
    "classic queue",
    default=True,
    holds=False,
    short="marked, without a number",
    says="The third delivery was marked `redelivered`, as the second was, and had no number.",
    documented=Documented(
        agrees=True,
        says="Redeliveries have a boolean property, `redeliver`.",
        source="https://www.rabbitmq.com/docs/4.3/confirms#automatic-requeueing",
    ),
)
def rabbitmq_classic(server: Server) -> Numbers:
    assert asyncio.run(_third(server, "classic", _nack)) == (True, {})
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.reject`",
    holds=True,
    short="yes: {count} before",
    says="The third delivery had the header `x-delivery-count` with {count}, the number of failures before it.",
    documented=Documented(
        agrees=True,
        says="Quorum queues count failed deliveries in the header `x-delivery-count`.",
        source="https://www.rabbitmq.com/docs/4.3/quorum-queues#poison-message-handling",
    ),
)
def rabbitmq_quorum_reject(server: Server) -> Numbers:
    _, headers = asyncio.run(_third(server, "quorum", _reject))
    assert headers["x-delivery-count"] == 2
    return {"count": headers["x-delivery-count"]}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.nack`",
    holds=True,
    short="yes: {count} before",
    says="The third delivery had no `x-delivery-count`, as a `basic.nack` is no failure since 4.3; the header `x-acquired-count` had {count}.",
    documented=Documented(
        agrees=False,
        says="The header `x-delivery-count` is included with any redelivered message. The same page says that a `basic.nack` does not increment it, and recommends `x-acquired-count`.",
        source="https://www.rabbitmq.com/docs/4.3/quorum-queues#poison-message-handling",
    ),
)
def rabbitmq_quorum_nack(server: Server) -> Numbers:
    _, headers = asyncio.run(_third(server, "quorum", _nack))
    assert "x-delivery-count" not in headers
    assert headers["x-acquired-count"] == 2
    return {"count": headers["x-acquired-count"]}


@trial(
    ASKED,
    "kafka",
    "consumer group",
    default=True,
    holds=False,
    short="no",
    says="The record was the same each time: nothing in it told the third delivery from the first. A worker that wants a number keeps it itself.",
)
def kafka_no_number(server: Server) -> Numbers:
    async def proof() -> None:
        [place] = await with_kafka.create(server.address)
        await with_kafka.publish(server.address, [0])
        async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as consumer:
            came = []
            for _ in range(3):
                came.append(await asyncio.wait_for(consumer.getone(), SECONDS))
                consumer.seek(place, came[-1].offset)
        assert came[0].value == b"0"
        assert came[0] == came[1] == came[2]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "share group",
    holds=True,
    short="yes: {count}",
    says="The third delivery had its number, {count}, with the record.",
)
def kafka_share_group(server: Server) -> Numbers:
    share.create(server, share.TOPIC)
    share.configure(server, share_auto_offset_reset="earliest")
    with share.worker(server) as worker:
        share.publish(server, "cat")
        for _ in range(2):
            share.settle(worker, share.take(worker)["cat"], share.RELEASE)
        count = share.take(worker)["cat"].delivery_count() or 0
    assert count == 3
    return {"count": count}


@trial(
    ASKED,
    "nats",
    "`metadata.num_delivered`",
    default=True,
    holds=True,
    short="yes: {count}",
    says="The third delivery had its number in the subject for the reply, from which the client reads it: {count}.",
)
def nats_num_delivered(server: Server) -> Numbers:
    async def proof() -> int:
        async with jetstream(server) as stream:
            workers = await stream.pull_subscribe("videos", durable="workers")
            await stream.publish("videos", b"0")
            for _ in range(2):
                [message] = await workers.fetch(1, timeout=SECONDS)
                await message.nak()
            [message] = await workers.fetch(1, timeout=SECONDS)
            assert message.reply.split(".")[4] == "3"
            return message.metadata.num_delivered

    count = asyncio.run(proof())
    assert count == 3
    return {"count": count}


@trial(
    ASKED,
    "redis",
    "`XPENDING`",
    default=True,
    holds=True,
    short="yes, if asked: {count}",
    says="The entry itself said nothing. `XPENDING` did: it had been delivered {count} times.",
    documented=Documented(
        agrees=True,
        says="`XCLAIM` increments the count of attempted deliveries, unless `JUSTID` is given.",
        source="https://redis.io/docs/latest/commands/xclaim/",
    ),
)
def redis_xpending(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        entry = client.xadd("videos", {"number": 0})
        client.xreadgroup("workers", "A", {"videos": ">"})
        for _ in range(2):
            third = client.xautoclaim("videos", "workers", "A", 0)[1]
        assert third == [(entry, {b"number": b"0"})]
        [pending] = client.xpending_range("videos", "workers", entry, entry, 1)
    assert pending["times_delivered"] == 3
    return {"count": pending["times_delivered"]}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1",
    default=True,
    holds=False,
    short="marked, without a number",
    says="The third delivery was marked as a duplicate, as the second was, and had no number.",
)
def mqtt_dup(server: Server) -> Numbers:
    marks = []
    for number in range(3):
        with with_mqtt.session(server, "worker", expiry=3600) as worker:
            if not number:
                worker.subscribe("videos")
                worker.publish("videos", "0")
            worker.comes("0")
            message = worker.received[0]
            # No other property of MQTT 5 came with it.
            marks.append((message.dup, message.properties.json() if message.properties else {}))
    assert marks == [(False, {}), (True, {}), (True, {})]
    return {}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, the worker rolls back",
    default=True,
    holds=False,
    short="no",
    says="A number that the worker wrote into the row in the transaction of its work was rolled back with it: the third time, it said {count}.",
)
def postgresql_rolled_back(server: Server) -> Numbers:
    said = _attempts(server, in_its_transaction=True)
    assert said == [0, 0, 0]
    return {"count": said[-1]}


@trial(
    ASKED,
    "postgresql",
    "a column `attempts`, committed before the work",
    holds=True,
    short="yes: {count} before",
    says="The third time, the row said that there had been {count} attempts before.",
)
def postgresql_committed(server: Server) -> Numbers:
    said = _attempts(server, in_its_transaction=False)
    assert said == [0, 1, 2]
    return {"count": said[-1]}


def _attempts(server: Server, *, in_its_transaction: bool) -> list[int]:
    """Return what the row said before each of three attempts that failed."""
    said = []
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD attempts int NOT NULL DEFAULT 0")
        with_postgresql.publish(connection, "0")
        for _ in range(3):
            with connection.transaction(force_rollback=in_its_transaction):
                taken = with_postgresql.take(connection)
                assert taken
                row = connection.execute("SELECT attempts FROM tasks").fetchone()
                assert row
                said.append(int(row[0]))
                connection.execute("UPDATE tasks SET attempts = attempts + 1")
    return said
