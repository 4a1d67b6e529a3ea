"""Two workers share a queue: in which order is the work done?"""

from __future__ import annotations

import asyncio
from itertools import cycle

import psycopg
import pytest
from nats.errors import TimeoutError as NothingCameError

from tests.atlas.single import shared, with_nats, with_postgresql
from tests.atlas.single.order import overtook
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import jetstream

ASKED = "two-workers"
MESSAGES = 10
OVERTOOK = "{overtook} of 10 overtook"
WAITS = "in order, one idle"


def out_of_order(done: list[int]) -> Numbers:
    """Assert that all was done, and not in order."""
    assert sorted(done) == [*range(MESSAGES)]
    assert overtook(done)
    return {"overtook": overtook(done)}


@trial(
    ASKED,
    "rabbitmq",
    "a queue as declared by default, no prefetch limit",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="The messages were given to the workers in turn, and {overtook} of 10 were done before an earlier one.",
    documented=Documented(
        agrees=True,
        says="To keep the order, a queue needs a single active consumer; a redelivery can change it where there are several.",
        source="https://www.rabbitmq.com/docs/queues#message-ordering",
    ),
)
def rabbitmq_shared(server: Server) -> Numbers:
    return out_of_order(asyncio.run(shared.on_rabbitmq(server, MESSAGES)))


@trial(
    ASKED,
    "rabbitmq",
    "`prefetch_count=1`",
    holds=False,
    short=OVERTOOK,
    says="While the slow worker was at the first message, the other did all the rest: {overtook} of 10 were done before an earlier one.",
)
def rabbitmq_prefetch_1(server: Server) -> Numbers:
    return out_of_order(asyncio.run(shared.on_rabbitmq(server, MESSAGES, prefetch=1)))


@trial(
    ASKED,
    "rabbitmq",
    "`x-single-active-consumer`",
    holds=True,
    short=WAITS,
    says="One worker got all messages and did them in order; the other was connected and got none.",
    documented=Documented(
        agrees=True,
        says="Only one consumer at a time consumes from the queue; another takes over when it is gone.",
        source="https://www.rabbitmq.com/docs/consumers#single-active-consumer",
    ),
)
def rabbitmq_single_active_consumer(server: Server) -> Numbers:
    done = asyncio.run(shared.on_rabbitmq(server, MESSAGES, x_single_active_consumer=True))
    assert done == [*range(MESSAGES)]
    return {}


@trial(
    ASKED,
    "kafka",
    "a topic of one partition, as the server makes by default (`num.partitions`)",
    default=True,
    holds=True,
    short=WAITS,
    says="One worker of the group got all messages and did them in order; the other was a member and got none.",
    documented=Documented(
        agrees=True,
        says="Each partition is consumed by exactly one consumer of a group at any time.",
        source="https://kafka.apache.org/44/design/design/#consumer-position",
    ),
)
def kafka_one_partition(server: Server) -> Numbers:
    assert asyncio.run(shared.on_kafka(server, MESSAGES, 1)) == ([*range(MESSAGES)], [])
    return {}


@trial(
    ASKED,
    "kafka",
    "a topic of two partitions, which take the messages in turn",
    holds=False,
    short="in order by partition",
    says="Each worker got every second message and did its own in order. Nothing orders the two: where one is done before the other begins, {overtook} of 10 are done before an earlier one.",
    documented=Documented(
        agrees=True,
        says="A partition is read in the order in which it was written.",
        source="https://kafka.apache.org/44/getting-started/introduction/",
    ),
)
def kafka_two_partitions(server: Server) -> Numbers:
    fast, slow = asyncio.run(shared.on_kafka(server, MESSAGES, 2))
    assert fast == [*range(1, MESSAGES, 2)]
    assert slow == [*range(0, MESSAGES, 2)]
    return out_of_order(fast + slow)


@trial(
    ASKED,
    "nats",
    "a durable pull consumer, `fetch(1)`",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="While the slow worker was at the first message, the other did all the rest: {overtook} of 10 were done before an earlier one.",
)
def nats_shared(server: Server) -> Numbers:
    return out_of_order(asyncio.run(shared.on_nats(server, MESSAGES)))


@trial(
    ASKED,
    "nats",
    "`max_ack_pending=1`",
    holds=True,
    short="in order, in turn",
    says="While one worker was at a message, the other asked for one and got none; the work was done in order, by both in turn.",
    documented=Documented(
        agrees=True,
        says="With `MaxAckPending` 1, a consumer delivers one message at a time and goes on when that is acknowledged, so that all is in order.",
        source="https://docs.nats.io/learn/jetstream/delivery-and-acknowledgment",
    ),
)
def nats_max_ack_pending_1(server: Server) -> Numbers:
    async def proof() -> list[int]:
        async with jetstream(server) as stream:
            await with_nats.publish(stream, *range(MESSAGES))
            slow = await with_nats.durable(stream, max_ack_pending=1)
            fast = await with_nats.durable(stream)
            [first] = await with_nats.take(slow)
            with pytest.raises(NothingCameError):
                await fast.fetch(timeout=0.5)
            await first.ack_sync()
            done = [int(first.data)]
            for _, worker in zip(range(MESSAGES - 1), cycle([fast, slow]), strict=False):
                [message] = await with_nats.take(worker)
                await message.ack_sync()
                done.append(int(message.data))
            return done

    assert asyncio.run(proof()) == [*range(MESSAGES)]
    return {}


@trial(
    ASKED,
    "redis",
    "a stream with a group, `XREADGROUP … COUNT 1`",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="While the slow worker was at the first entry, the other did all the rest: {overtook} of 10 were done before an earlier one.",
    documented=Documented(
        agrees=True,
        says="With one stream and several consumers, messages may be consumed out of order, as one consumer may be faster than another.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_shared(server: Server) -> Numbers:
    return out_of_order(shared.on_redis(server, MESSAGES))


@trial(
    ASKED,
    "mqtt",
    "`$share/workers/videos`, durable sessions, QoS 1",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="The messages were given to the workers in turn, and {overtook} of 10 were done before an earlier one.",
    documented=Documented(
        agrees=True,
        says="The server is free to choose which session gets a message, and topics have to be in order only for subscriptions that are not shared (4.8.2, 4.6).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901250",
    ),
)
def mqtt_shared_subscription(server: Server) -> Numbers:
    return out_of_order(shared.on_mqtt(server, MESSAGES))


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="While the slow worker was at the first row, the other did all the rest: {overtook} of 10 were done before an earlier one.",
    documented=Documented(
        agrees=True,
        says="Skipping locked rows gives an inconsistent view of the data; it suits several consumers of a table like a queue.",
        source="https://www.postgresql.org/docs/18/sql-select.html#SQL-FOR-UPDATE-SHARE",
    ),
)
def postgresql_skip_locked(server: Server) -> Numbers:
    return out_of_order(shared.on_postgresql(server, MESSAGES))


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE`, without `SKIP LOCKED`",
    holds=True,
    short="in order, in turn",
    says="While one worker was at a row, the other waited for its lock; the work was done in order, by both in turn.",
)
def postgresql_for_update(server: Server) -> Numbers:
    take = with_postgresql.TAKE.removesuffix(" SKIP LOCKED")
    done = []
    with with_postgresql.connect(server) as slow, with_postgresql.connect(server) as fast:
        with_postgresql.declare(slow)
        with_postgresql.publish(slow, *map(str, range(MESSAGES)))
        fast.execute("SET lock_timeout = '500ms'")
        for worker, other in zip((slow, fast) * (MESSAGES // 2), cycle((fast, slow)), strict=False):
            with worker.transaction():
                row = worker.execute(take).fetchone()
                assert row
                if other is fast:
                    with pytest.raises(psycopg.errors.LockNotAvailable):
                        other.execute(take)
                with_postgresql.acknowledge(worker, row[0])
            done.append(int(row[1]))
    assert done == [*range(MESSAGES)]
    return {}
