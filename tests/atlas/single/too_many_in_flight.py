"""A worker takes and takes, and acknowledges nothing: what stops it?"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aio_pika.abc import AbstractIncomingMessage
from nats.errors import TimeoutError as NothingCameError

from tests.atlas.single import with_kafka, with_nats, with_postgresql, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.server import wait_until

ASKED = "too-many-in-flight"


async def _taken(server: Server, waiting: int, kind: str, prefetch: int) -> int:
    """Return how many a consumer of RabbitMQ's has been sent when no more come."""
    async with with_rabbitmq.opened(server.address) as channel:
        queue = await with_rabbitmq.declare(channel, kind)
        for number in range(waiting):
            await with_rabbitmq.publish(channel, [number])
    async with with_rabbitmq.opened(server.address, prefetch) as channel:
        queue = await with_rabbitmq.declare(channel, kind)
        taken: list[AbstractIncomingMessage] = []

        async def take(message: AbstractIncomingMessage) -> None:
            taken.append(message)

        await queue.consume(take)
        expected = prefetch or waiting

        async def settled() -> bool:
            left = (await channel.declare_queue(queue.name, passive=True)).declaration_result
            return len(taken) >= expected and left.message_count == waiting - expected

        await comes(settled)
        assert len(taken) == expected
        return len(taken)


@trial(
    ASKED,
    "rabbitmq",
    "no `prefetch_count`",
    default=True,
    holds=False,
    short="nothing: all {taken}",
    says="All {taken} messages that waited were sent to one consumer, and a second one would have found an empty queue.",
    documented=Documented(
        agrees=True,
        says="A prefetch of 0 means no limit on a channel. A quorum queue has one of its own, of 2,000.",
        source="https://www.rabbitmq.com/docs/confirms#channel-qos-prefetch",
    ),
)
def rabbitmq_no_prefetch(server: Server) -> Numbers:
    return {"taken": asyncio.run(_taken(server, 500, "classic", 0))}


@trial(
    ASKED,
    "rabbitmq",
    "`prefetch_count=10`, a quorum queue",
    holds=True,
    short="stops at {taken}",
    says="The consumer got {taken} messages, and no more until it acknowledges one.",
    documented=Documented(
        agrees=True,
        says="The server stops delivering when the number of unacknowledged messages reaches the prefetch, until at least one is acknowledged.",
        source="https://www.rabbitmq.com/docs/confirms#channel-qos-prefetch",
    ),
)
def rabbitmq_prefetch(server: Server) -> Numbers:
    return {"taken": asyncio.run(_taken(server, 50, "quorum", 10))}


@trial(
    ASKED,
    "kafka",
    "a consumer group, `enable_auto_commit=False`",
    holds=False,
    short="nothing: all {taken}",
    says="The consumer was given all {taken} records without having committed one. Kafka counts no unacknowledged records of a consumer group.",
    documented=Documented(
        agrees=True,
        says="What a group has consumed of a partition is a single number, the offset of the next message.",
        source="https://kafka.apache.org/44/design/design/#consumer-position",
    ),
)
def kafka_consumer_group(server: Server) -> Numbers:
    async def proof() -> int:
        [place] = await with_kafka.create(server.address)
        async with with_kafka.producing(server.address) as producer:
            sent = [await producer.send(place.topic, b"%d" % number) for number in range(3000)]
            await asyncio.gather(*sent)
        async with with_kafka.consuming(
            server.address, enable_auto_commit=False, auto_offset_reset="earliest"
        ) as consumer:
            taken = [await consumer.getone() for _ in range(3000)]
            assert await consumer.committed(place) is None
            return len(taken)

    return {"taken": asyncio.run(proof())}


async def _fetched(server: Server, waiting: int, expected: int, **options: int) -> int:
    """Fetch from NATS until a fetch brings nothing."""
    async with jetstream(server) as stream:
        for first in range(0, waiting, 100):
            await asyncio.gather(
                *(with_nats.publish(stream, number) for number in range(first, first + 100))
            )
        worker = await with_nats.durable(stream, **options)
        taken = await with_nats.take(worker, expected)
        with suppress(NothingCameError):
            taken += await worker.fetch(1, timeout=1)
        info = await worker.consumer_info()
        assert (info.num_ack_pending, info.num_pending) == (len(taken), waiting - len(taken))
        assert len(taken) == expected
        return len(taken)


@trial(
    ASKED,
    "nats",
    "`max_ack_pending: 1000`, all workers of a consumer together",
    default=True,
    holds=True,
    short="stops at {taken}",
    says="After {taken} messages no more came, and a fetch ended with a time-out like that of an empty stream. The number is for all workers of the durable consumer together.",
    documented=Documented(
        agrees=True,
        says="`MaxAckPending`, 1000 by default, is how many messages may be delivered and not acknowledged; it is shared by all workers of the consumer.",
        source="https://docs.nats.io/learn/jetstream/worker-pool",
    ),
)
def nats_max_ack_pending(server: Server) -> Numbers:
    return {"taken": asyncio.run(_fetched(server, 1200, 1000))}


@trial(
    ASKED,
    "nats",
    "`max_ack_pending: 10`",
    holds=True,
    short="stops at {taken}",
    says="After {taken} messages no more came, until one is acknowledged or its `ack_wait` has passed.",
)
def nats_ten(server: Server) -> Numbers:
    return {"taken": asyncio.run(_fetched(server, 100, 10, max_ack_pending=10))}


@trial(
    ASKED,
    "redis",
    "`XREADGROUP … COUNT 10`",
    default=True,
    holds=False,
    short="nothing: all {taken}",
    says="`COUNT` bounds one call and not what is pending: the worker called again and again, and had all {taken} entries.",
    documented=Documented(
        agrees=True,
        says="`COUNT` is the greatest number of entries that one call returns. No option bounds the list of pending entries.",
        source="https://redis.io/docs/latest/commands/xreadgroup/",
    ),
)
def redis_count(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, *range(500))
        for _ in range(50):
            assert len(with_redis.read(client, count=10)) == 10
        taken = client.xpending(with_redis.STREAM, with_redis.GROUP)["pending"]
    assert taken == 500
    return {"taken": taken}


def _arrived(server: Server, waiting: int, expected: int, prefetch: int = 0) -> int:
    """Return how many a worker got that acknowledged none."""
    with session(server, "worker", expiry=600, prefetch=prefetch) as worker:
        worker.subscribe("videos")
        with session(server) as producer:
            for number in range(waiting):
                producer.publish("videos", str(number))
        wait_until(lambda: len(worker.received) >= expected, "the messages to come")
        worker.settled()
        assert worker.bodies() == [*map(str, range(expected))]
        return len(worker.received)


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `max_inflight_messages 20`",
    default=True,
    holds=True,
    short="stops at {taken}",
    says="The worker got {taken} messages, and no more until it acknowledges one.",
    documented=Documented(
        agrees=True,
        says="`max_inflight_messages` is the number of outgoing messages of QoS 1 or 2 that can be in the process of being transmitted to a client at once, 20 by default.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_in_flight(server: Server) -> Numbers:
    return {"taken": _arrived(server, 100, 20)}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, the client's `ReceiveMaximum: 1`",
    holds=True,
    short="stops at {taken}",
    says="The worker got {taken} message, and the next one only after it acknowledges that.",
)
def mqtt_receive_maximum(server: Server) -> Numbers:
    return {"taken": _arrived(server, 10, 1, prefetch=1)}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED LIMIT 1`",
    default=True,
    holds=False,
    short="nothing: all {taken}",
    says="In one transaction, the worker took row after row, and had locked all {taken}. What bounds it is that a worker ends its transaction before it takes the next row.",
    documented=Documented(
        agrees=True,
        says="What rows are locked is not remembered in memory, so there is no limit on the number of rows that are locked at one time.",
        source="https://www.postgresql.org/docs/18/explicit-locking.html#LOCKING-ROWS",
    ),
)
def postgresql_skip_locked(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as worker,
        with_postgresql.connect(server) as other,
    ):
        with_postgresql.declare(other)
        with_postgresql.publish(other, *map(str, range(200)))
        take = "SELECT id FROM tasks WHERE id > %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
        taken = [0]
        with worker.transaction():
            while row := worker.execute(take, [taken[-1]]).fetchone():
                taken.append(row[0])
            with other.transaction():
                assert with_postgresql.take(other) is None
    assert len(taken) - 1 == 200
    return {"taken": len(taken) - 1}
