"""A message is older than its time to live: where does it go?"""

from __future__ import annotations

import asyncio
import time

import aio_pika
import pytest
import redis
from aio_pika.abc import AbstractChannel
from nats.js.api import StreamConfig

from tests.atlas.single import (
    configured,
    with_kafka,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.atlas.single.too_long import HASTY
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream

ASKED = "too-old"
#: The time to live, and a time after which a message is older than that, by whole seconds too.
SECONDS, LATER = 1, 3


async def _expiring(channel: AbstractChannel, body: bytes) -> None:
    message = aio_pika.Message(body, expiration=SECONDS)
    await channel.default_exchange.publish(message, with_rabbitmq.QUEUE)


async def _count(channel: AbstractChannel, name: str = with_rabbitmq.QUEUE) -> int:
    """Return how many messages wait in a queue of RabbitMQ's."""
    found = await channel.declare_queue(name, passive=True)
    return found.declaration_result.message_count or 0


@trial(
    ASKED,
    "rabbitmq",
    "`expiration`, without a dead-letter exchange",
    holds=False,
    short="dropped",
    says="The message was gone, and neither the producer nor a consumer was told.",
    documented=Documented(
        agrees=True,
        says="A message that has been in a queue for longer than its time to live is discarded, or dead-lettered where that is set up.",
        source="https://www.rabbitmq.com/docs/ttl",
    ),
)
def rabbitmq_dropped(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await _expiring(channel, b"1")
            assert await _count(channel) == 1

            async def gone() -> bool:
                return await _count(channel) == 0

            await comes(gone)
            assert await with_rabbitmq.rest(queue) == []

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`expiration`, behind a message without one",
    holds=False,
    short="dropped only when first",
    says="The message counted as waiting long after its time, as another stood before it. When that had been taken, it was dropped, and no consumer got it.",
    documented=Documented(
        agrees=True,
        says="Only when expired messages reach the head of a queue are they discarded or dead-lettered.",
        source="https://www.rabbitmq.com/docs/ttl",
    ),
)
def rabbitmq_behind(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await with_rabbitmq.publish(channel, [1])
            await _expiring(channel, b"2")
            await asyncio.sleep(LATER)
            assert await _count(channel) == 2
            assert await with_rabbitmq.rest(queue) == [1]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`expiration`, `x-dead-letter-exchange`",
    holds=True,
    short="to the dead letters",
    says="The message was in the queue for dead letters, with the reason `expired`.",
    documented=Documented(
        agrees=True,
        says="A message is dead-lettered when it expires by its time to live.",
        source="https://www.rabbitmq.com/docs/dlx",
    ),
)
def rabbitmq_dead_lettered(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            dead = await with_rabbitmq.declare(channel, name="dead")
            await with_rabbitmq.declare(
                channel, x_dead_letter_exchange="", x_dead_letter_routing_key="dead"
            )
            await _expiring(channel, b"1")

            async def there() -> bool:
                return await _count(channel, "dead") == 1

            await comes(there)
            letter = await dead.get(no_ack=True)
            assert letter.headers["x-first-death-reason"] == "expired"

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "`retention.ms=1000` instead of 7 days, looked at each 0.2 s",
    default=True,
    holds=False,
    short="dropped, unread",
    says="The record was deleted, although no group had read it, and nobody was told.",
    documented=Documented(
        agrees=True,
        says="`retention.ms` is the longest time that a log is kept before old segments are discarded; it is an agreement on how soon consumers must read. It is seven days by default.",
        source="https://kafka.apache.org/44/configuration/topic-configs/#topicconfigs_retention.ms",
    ),
)
def kafka_retention(server: Server) -> Numbers:
    async def proof(own: Server) -> None:
        [place] = await with_kafka.create(own.address, retention_ms=str(1000 * SECONDS))
        async with (
            with_kafka.producing(own.address) as producer,
            with_kafka.consuming(own.address, group=None) as consumer,
        ):
            await producer.send_and_wait(place.topic, b"1")

            async def gone() -> bool:
                return bool((await consumer.beginning_offsets([place]))[place])

            await comes(gone)
            assert await consumer.beginning_offsets([place]) == {place: 1}
            assert await consumer.end_offsets([place]) == {place: 1}

    with server.another(configured.kafka(*HASTY)) as own:
        asyncio.run(proof(own))
    return {}


@trial(
    ASKED,
    "nats",
    "`max_age: 1s` of the stream",
    holds=False,
    short="dropped, unread",
    says="The message was deleted, although the durable consumer had not got it, and nobody was told.",
    documented=Documented(
        agrees=True,
        says="`MaxAge` caps how old a message may get; what it discards is gone for every consumer at once.",
        source="https://docs.nats.io/learn/jetstream/shaping-the-stream",
    ),
)
def nats_max_age(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server, stream=StreamConfig(max_age=SECONDS)) as stream:
            worker = await with_nats.durable(stream)
            await with_nats.publish(stream, "cat.mp4")

            async def gone() -> bool:
                return (await stream.stream_info(with_nats.STREAM)).state.messages == 0

            await comes(gone)
            info = await worker.consumer_info()
            assert (info.num_pending, info.delivered.stream_seq if info.delivered else 0) == (0, 0)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "nats",
    "`allow_msg_ttl`, `Nats-TTL: 1s`",
    holds=False,
    short="dropped, unread",
    says="The message was deleted when its own time was over, and the one beside it stayed. Nobody was told.",
    documented=Documented(
        agrees=True,
        says="With `AllowMsgTTL`, the header `Nats-TTL` sets when a message is deleted, whether or not a consumer has read it.",
        source="https://docs.nats.io/learn/jetstream/message-ttl",
    ),
)
def nats_message_ttl(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server, stream=StreamConfig(allow_msg_ttl=True)) as stream:
            await stream.publish(with_nats.STREAM, b"cat.mp4", msg_ttl=SECONDS)
            await with_nats.publish(stream, "dog.mp4")

            async def left() -> bool:
                return await with_nats.there(stream) == ["dog.mp4"]

            await comes(left)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD` without `MINID`",
    default=True,
    holds=True,
    short="stays",
    says="An entry has no time to live: the group got it as late as it asked. Its id says when it was added, and a worker may look at that.",
    documented=Documented(
        agrees=True,
        says="The first part of an id that Redis makes is its time in milliseconds, which lets one ask for entries by time.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_stays(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        before = int(client.time()[0])
        [number] = with_redis.add(client, "cat.mp4")
        time.sleep(LATER)
        assert with_redis.read(client) == [(number, "cat.mp4")]
        assert before <= int(number.split("-")[0]) // 1000 < int(client.time()[0])
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD … MINID` a second ago",
    holds=False,
    short="dropped, unread",
    says="The next `XADD` dropped the entry, although the group had not read it, and nobody was told.",
    documented=Documented(
        agrees=True,
        says="`MINID` evicts entries with ids lower than the threshold, by default regardless of whether a group still refers to them.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_minid(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, "cat.mp4")
        time.sleep(LATER)
        oldest = (int(client.time()[0]) - SECONDS) * 1000
        client.xadd(with_redis.STREAM, {"body": "dog.mp4"}, minid=oldest, approximate=False)
        assert with_redis.there(client) == ["dog.mp4"]
        assert [body for _, body in with_redis.read(client, count=2)] == ["dog.mp4"]
    return {}


@trial(
    ASKED,
    "redis",
    "`EXPIRE` of the stream's key",
    holds=False,
    short="all dropped, group too",
    says="The whole stream was gone at that time, younger entries and the group with it. The next `XREADGROUP` failed with `NOGROUP`.",
    documented=Documented(
        agrees=True,
        says="`EXPIRE` sets a time after which a key is deleted, with all that is in it.",
        source="https://redis.io/docs/latest/commands/expire/",
    ),
)
def redis_expire(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, "cat.mp4")
        client.expire(with_redis.STREAM, LATER)
        time.sleep(SECONDS)
        with_redis.add(client, "dog.mp4")
        time.sleep(LATER)
        assert client.keys() == []
        with pytest.raises(redis.ResponseError, match="NOGROUP"):
            with_redis.read(client)
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `MessageExpiryInterval: 1`",
    holds=False,
    short="dropped",
    says="The worker, which had been away, did not get the message, and got the one beside it that had no time to live. Nobody was told.",
    documented=Documented(
        agrees=True,
        says="If the interval has passed and the server has not begun to deliver to a subscriber, it must delete that subscriber's copy.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901112",
    ),
)
def mqtt_expiry(server: Server) -> Numbers:
    with session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos")
    with session(server) as producer:
        producer.publish("videos", "cat.mp4", MessageExpiryInterval=SECONDS)
        producer.publish("videos", "dog.mp4")
    time.sleep(LATER)
    with session(server, "worker", expiry=600) as worker:
        worker.settled()
        assert worker.bodies() == ["dog.mp4"]
    return {}


@trial(
    ASKED,
    "postgresql",
    "a queue table",
    default=True,
    holds=True,
    short="stays",
    says="A row has no time to live: the worker got it as late as it asked.",
)
def postgresql_stays(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "cat.mp4")
        time.sleep(LATER)
        assert with_postgresql.work(connection) == "cat.mp4"
    return {}


@trial(
    ASKED,
    "postgresql",
    "`WHERE expires > now()` in the worker's `SELECT`",
    holds=True,
    short="skipped, and stays",
    says="The worker skipped the row and took the next one. The row stayed in the table, for whoever counts or deletes what is too late.",
)
def postgresql_expires(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute(
            "ALTER TABLE tasks ADD expires timestamptz NOT NULL DEFAULT now() + interval '1 hour'"
        )
        connection.execute(
            "INSERT INTO tasks (body, expires) VALUES ('cat.mp4', now() + interval '1 second')"
        )
        with_postgresql.publish(connection, "dog.mp4")
        time.sleep(LATER)
        take = (
            "SELECT body FROM tasks WHERE expires > now() ORDER BY id LIMIT 1"
            " FOR UPDATE SKIP LOCKED"
        )
        assert connection.execute(take).fetchone() == ("dog.mp4",)
        assert with_postgresql.waiting(connection) == ["cat.mp4", "dog.mp4"]
    return {}
