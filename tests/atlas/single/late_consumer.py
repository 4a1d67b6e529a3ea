"""A consumer that comes late: does it get what was published before?"""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import redis
from aio_pika.abc import AbstractIncomingMessage
from nats.js.api import ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.kafka import Kafka

ASKED = "late-consumer"
BEFORE, AFTER = [0, 1, 2], 3
ALL = "The consumer got all {got} that had been published before."
NONE = "The consumer got only what was published once it was there."


@trial(
    ASKED,
    "rabbitmq",
    "a fanout exchange; the consumer declares its queue",
    default=True,
    holds=False,
    short="none",
    says="There was no queue yet, so the exchange dropped what had been published, and confirmed it. The consumer got only what was published once its queue was bound.",
)
def rabbitmq_own_queue(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            exchange = await channel.declare_exchange("uploads", "fanout", durable=True)

            async def publish(number: int) -> None:
                await exchange.publish(aio_pika.Message(b"%d" % number), "")

            for number in BEFORE:
                await publish(number)
            queue = await with_rabbitmq.declare(channel)
            await queue.bind(exchange)
            await publish(AFTER)
            assert await with_rabbitmq.rest(queue) == [AFTER]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "the producer declares the queue",
    holds=True,
    short="all {got}",
    says=ALL,
)
def rabbitmq_queue_before(server: Server) -> Numbers:
    async def proof() -> list[int]:
        async with with_rabbitmq.opened(server.address) as channel:
            await with_rabbitmq.declare(channel)
            await with_rabbitmq.publish(channel, BEFORE)
        async with with_rabbitmq.opened(server.address) as channel:
            return await with_rabbitmq.rest(await channel.get_queue(with_rabbitmq.QUEUE))

    found = asyncio.run(proof())
    assert found == BEFORE
    return {"got": len(found)}


async def _stream(server: Server, **arguments: Any) -> list[int]:
    """Return what a consumer of a stream gets, to the one that is published when it is there."""
    async with with_rabbitmq.opened(server.address, prefetch=10) as channel:
        queue = await with_rabbitmq.declare(channel, "stream")
        await with_rabbitmq.publish(channel, BEFORE)
        taken = asyncio.Queue[AbstractIncomingMessage]()
        await queue.consume(taken.put, arguments=arguments)
        await with_rabbitmq.publish(channel, [AFTER])
        found: list[int] = []
        while AFTER not in found:
            message = await asyncio.wait_for(taken.get(), SECONDS)
            found.append(int(message.body))
        return found


@trial(
    ASKED,
    "rabbitmq",
    "stream, `x-stream-offset: next`, the default of streams",
    holds=False,
    short="none",
    says=NONE,
    documented=Documented(
        agrees=True,
        says="Without `x-stream-offset`, a consumer begins with what is written after it has started.",
        source="https://www.rabbitmq.com/docs/4.3/streams#consuming",
    ),
)
def rabbitmq_stream_next(server: Server) -> Numbers:
    assert asyncio.run(_stream(server)) == [AFTER]
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "stream, `x-stream-offset: first`",
    holds=True,
    short="all {got}",
    says=ALL,
    documented=Documented(
        agrees=True,
        says="`first` begins with the first message that is available in the log.",
        source="https://www.rabbitmq.com/docs/4.3/streams#consuming",
    ),
)
def rabbitmq_stream_first(server: Server) -> Numbers:
    found = asyncio.run(_stream(server, **{"x-stream-offset": "first"}))
    assert found == [*BEFORE, AFTER]
    return {"got": len(BEFORE)}


async def _kafka(server: Kafka, **settings: Any) -> list[int]:
    """Return what a new group gets, to the record that is published when it has its place."""
    address = server.address
    [place] = await with_kafka.create(address)
    await with_kafka.publish(address, BEFORE)
    async with with_kafka.consuming(address, **settings) as consumer:

        async def has_its_place() -> bool:
            return place in consumer.assignment()

        await comes(has_its_place)
        await consumer.position(place)
        await with_kafka.publish(address, [AFTER])
        found: list[int] = []
        while AFTER not in found:
            found.append(int((await asyncio.wait_for(consumer.getone(), SECONDS)).value))
        return found


@trial(
    ASKED,
    "kafka",
    "`auto_offset_reset=latest`",
    default=True,
    holds=False,
    short="none",
    says="The consumer got only what was published once its group had a place in the topic. What had been published before was there, and the consumer passed it over without a word.",
    documented=Documented(
        agrees=True,
        says="The default of `auto_offset_reset` is `latest`: the most recent message.",
        source="https://aiokafka.readthedocs.io/en/stable/api.html#aiokafka.AIOKafkaConsumer",
    ),
)
def kafka_latest(server: Server) -> Numbers:
    assert isinstance(server, Kafka)
    assert asyncio.run(_kafka(server)) == [AFTER]
    return {}


@trial(
    ASKED,
    "kafka",
    "`auto_offset_reset=earliest`",
    holds=True,
    short="all {got}",
    says=ALL,
)
def kafka_earliest(server: Server) -> Numbers:
    assert isinstance(server, Kafka)
    assert asyncio.run(_kafka(server, auto_offset_reset="earliest")) == [*BEFORE, AFTER]
    return {"got": len(BEFORE)}


async def _nats(server: Server, config: ConsumerConfig, stream: StreamConfig) -> list[int]:
    async with jetstream(server, stream=stream) as context:
        for number in BEFORE:
            await context.publish("videos", b"%d" % number)
        workers = await context.pull_subscribe("videos", durable="workers", config=config)
        await context.publish("videos", b"%d" % AFTER)
        found: list[int] = []
        while AFTER not in found:
            [message] = await workers.fetch(1, timeout=SECONDS)
            await message.ack_sync()
            found.append(int(message.data))
        return found


@trial(
    ASKED,
    "nats",
    "`deliver_policy` all",
    default=True,
    holds=True,
    short="all {got}",
    says=ALL,
    documented=Documented(
        agrees=True,
        says="`all` is the default: a consumer starts at the stream's first message.",
        source="https://docs.nats.io/learn/jetstream/policies",
    ),
)
def nats_deliver_all(server: Server) -> Numbers:
    found = asyncio.run(_nats(server, ConsumerConfig(), StreamConfig()))
    assert found == [*BEFORE, AFTER]
    return {"got": len(BEFORE)}


@trial(
    ASKED,
    "nats",
    "`deliver_policy` new",
    holds=False,
    short="none",
    says=NONE,
    documented=Documented(
        agrees=True,
        says="`new` delivers only messages that arrive after the consumer has been created.",
        source="https://docs.nats.io/learn/jetstream/policies",
    ),
)
def nats_deliver_new(server: Server) -> Numbers:
    config = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
    assert asyncio.run(_nats(server, config, StreamConfig())) == [AFTER]
    return {}


@trial(
    ASKED,
    "nats",
    "`deliver_policy` all, the stream's `retention` interest",
    holds=False,
    short="none",
    says="As no consumer was interested when they were published, the stream had confirmed the messages and not kept them. The consumer got only what was published once it was there.",
    documented=Documented(
        agrees=True,
        says="If no consumer is interested in a subject, a message on that subject is removed right away.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_interest(server: Server) -> Numbers:
    stream = StreamConfig(retention=RetentionPolicy.INTEREST)
    assert asyncio.run(_nats(server, ConsumerConfig(), stream)) == [AFTER]
    return {}


def _redis(server: Server, **place: str) -> list[int]:
    with redis.Redis.from_url(server.address) as client:
        for number in BEFORE:
            client.xadd("videos", {"number": number})
        client.xgroup_create("videos", "workers", **place)
        client.xadd("videos", {"number": AFTER})
        [(_, entries)] = client.xreadgroup("workers", "A", {"videos": ">"})
        return [int(fields[b"number"]) for _, fields in entries]


@trial(
    ASKED,
    "redis",
    "`XGROUP CREATE … $`, redis-py's default",
    default=True,
    holds=False,
    short="none",
    says="The consumer got only what was added once its group was there. What had been added before stayed in the stream, and the group passed it over.",
    documented=Documented(
        agrees=True,
        says="`$` is the id of the last entry, from which the group goes on.",
        source="https://redis.io/docs/latest/commands/xgroup-create/",
    ),
)
def redis_dollar(server: Server) -> Numbers:
    assert _redis(server) == [AFTER]
    return {}


@trial(
    ASKED,
    "redis",
    "`XGROUP CREATE … 0`",
    holds=True,
    short="all {got}",
    says=ALL,
    documented=Documented(
        agrees=True,
        says="To fetch the entire stream from the beginning, a group begins at zero.",
        source="https://redis.io/docs/latest/commands/xgroup-create/",
    ),
)
def redis_zero(server: Server) -> Numbers:
    assert _redis(server, id="0") == [*BEFORE, AFTER]
    return {"got": len(BEFORE)}


def _mqtt(server: Server, *, retain: bool = False, before: bool = False) -> list[int]:
    with with_mqtt.session(server, "producer") as producer:
        if before:
            with with_mqtt.session(server, "consumer", expiry=3600) as consumer:
                consumer.subscribe("videos")
        for number in BEFORE:
            producer.publish("videos", str(number), retain=retain)
        with with_mqtt.session(server, "consumer", expiry=3600) as consumer:
            if not before:
                consumer.subscribe("videos")
            producer.publish("videos", str(AFTER))
            while str(AFTER) not in consumer.bodies():
                consumer.settled()
            return [int(body) for body in consumer.bodies()]


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1",
    default=True,
    holds=False,
    short="none",
    says="Nobody had subscribed yet, so the server dropped what had been published. The consumer got only what was published once it had subscribed.",
)
def mqtt_subscribes_late(server: Server) -> Numbers:
    assert _mqtt(server) == [AFTER]
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `retain`",
    holds=False,
    short="the last one",
    says="The consumer got the last one of the three that had been published before, and not the others.",
)
def mqtt_retained(server: Server) -> Numbers:
    assert _mqtt(server, retain=True) == [BEFORE[-1], AFTER]
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, subscribed once before",
    holds=True,
    short="all {got}",
    says="The consumer had connected and subscribed once before anything was published, and was away since. It got all {got} when it came back.",
)
def mqtt_subscribed_before(server: Server) -> Numbers:
    found = _mqtt(server, before=True)
    assert found == [*BEFORE, AFTER]
    return {"got": len(BEFORE)}


@trial(
    ASKED,
    "postgresql",
    "a queue table",
    default=True,
    holds=True,
    short="all {got}",
    says=ALL,
)
def postgresql_table(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as producer,
        with_postgresql.connect(server) as consumer,
    ):
        with_postgresql.declare(producer)
        with_postgresql.publish(producer, *map(str, BEFORE))
        found = [with_postgresql.work(consumer) for _ in BEFORE]
    assert found == [str(number) for number in BEFORE]
    return {"got": len(found)}


@trial(
    ASKED,
    "postgresql",
    "`LISTEN` and `NOTIFY`, without a table",
    holds=False,
    short="none",
    says="A notification is not stored: the consumer got only what was sent once it listened.",
    documented=Documented(
        agrees=True,
        says="`NOTIFY` sends to each client that has executed `LISTEN` before.",
        source="https://www.postgresql.org/docs/18/sql-notify.html",
    ),
)
def postgresql_listen(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as producer,
        with_postgresql.connect(server) as consumer,
    ):
        for number in BEFORE:
            producer.execute("SELECT pg_notify('videos', %s)", [str(number)])
        consumer.execute("LISTEN videos")
        producer.execute("SELECT pg_notify('videos', %s)", [str(AFTER)])
        heard = [one.payload for one in consumer.notifies(timeout=SECONDS, stop_after=1)]
    assert heard == [str(AFTER)]
    return {}
