"""The server stands still while a producer publishes: what does the producer learn?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from select import select

import pytest
import redis
from aiokafka import TopicPartition
from nats.errors import TimeoutError as NatsTimeoutError

from tests.atlas.single import with_kafka, with_nats, with_postgresql, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.server import wait_until

ASKED = "server-frozen"
#: How long a producer waits.
SECONDS = 1


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@asynccontextmanager
async def standing_still(server: Server) -> AsyncIterator[None]:
    """Freeze, while clients in this event loop go on."""
    await asyncio.to_thread(server.freeze)
    try:
        yield
    finally:
        await asyncio.to_thread(server.thaw)


@trial(
    ASKED,
    "rabbitmq",
    "aio-pika's `publish(timeout=1)`",
    default=True,
    holds=False,
    short="no answer; it was there",
    says="`publish()` raised `TimeoutError`, and the connection looked open. When the server went on, the message was in the queue.",
    documented=Documented(
        agrees=True,
        says="A producer that got no confirm has to publish again; the message may be there twice then, as the broker might have sent a confirm that never reached the producer.",
        source="https://www.rabbitmq.com/docs/reliability",
    ),
)
def rabbitmq_timeout(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            async with standing_still(server):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(SECONDS):
                        await with_rabbitmq.publish(channel, [1])
                assert not channel.is_closed
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)

            async def came() -> bool:
                return await with_rabbitmq.rest(queue) == [1]

            await comes(came)

    asyncio.run(proof())
    return {}


async def _end(server: Server, place: TopicPartition) -> int:
    """Return how many records are in a partition."""
    async with with_kafka.consuming(server.address, group=None) as consumer:
        return int((await consumer.end_offsets([place]))[place])


@trial(
    ASKED,
    "kafka",
    "aiokafka's defaults, `asyncio.timeout(1)`",
    default=True,
    holds=False,
    short="no answer; it was there",
    says="The call ended with `TimeoutError`, and the client went on trying behind the producer's back. When the server went on, the record was in the topic.",
    documented=Documented(
        agrees=True,
        says="A producer that meets an error of the network can't be sure whether it happened before or after the message was committed.",
        source="https://kafka.apache.org/44/design/design/#message-delivery-semantics",
    ),
)
def kafka_timeout(server: Server) -> Numbers:
    async def proof() -> None:
        [place] = await with_kafka.create(server.address)
        async with with_kafka.producing(server.address) as producer:
            await producer.send_and_wait(place.topic, b"0")
            async with standing_still(server):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(SECONDS):
                        await producer.send_and_wait(place.topic, b"1")
            await producer.flush()
        assert await _end(server, place) == 2

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`, `request_timeout_ms=1000`, without a time limit of one's own",
    holds=True,
    short="waits; there once",
    says="The client sent the record again each time that a request timed out, and the call returned with a confirm when the server went on. The record was there once.",
    documented=Documented(
        agrees=True,
        says="With `enable.idempotence`, the producer makes sure that exactly one copy of each message is written to the stream.",
        source="https://kafka.apache.org/44/configuration/producer-configs/#producerconfigs_enable.idempotence",
    ),
)
def kafka_idempotent(server: Server) -> Numbers:
    async def proof() -> None:
        [place] = await with_kafka.create(server.address)
        patient = {"enable_idempotence": True, "request_timeout_ms": 1000}
        async with with_kafka.producing(server.address, **patient) as producer:
            await producer.send_and_wait(place.topic, b"0")
            async with standing_still(server):
                sent = asyncio.ensure_future(producer.send_and_wait(place.topic, b"1"))
                ended, _ = await asyncio.wait([sent], timeout=4 * SECONDS)
                assert not ended
            assert (await sent).offset == 1
        assert await _end(server, place) == 2

    asyncio.run(proof())
    return {}


async def _published_twice(server: Server, **headers: str) -> int:
    """Publish to a NATS that stands still, and again when it goes on; return how many are there."""
    async with jetstream(server) as stream:
        async with standing_still(server):
            with pytest.raises(NatsTimeoutError):
                await stream.publish("videos", b"1", timeout=SECONDS, headers=headers)
        await stream.publish("videos", b"1", headers=headers)
        return len(await with_nats.there(stream))


@trial(
    ASKED,
    "nats",
    "nats-py's `publish(timeout=1)`, sent again",
    default=True,
    holds=False,
    short="sent again: {copies} copies",
    says="`publish()` raised `TimeoutError`. The producer sent the message again when the server went on, and it was there {copies} times.",
)
def nats_timeout(server: Server) -> Numbers:
    copies = asyncio.run(_published_twice(server))
    assert copies == 2
    return {"copies": copies}


@trial(
    ASKED,
    "nats",
    "`Nats-Msg-Id`, sent again",
    holds=True,
    short="sent again: there once",
    says="`publish()` raised `TimeoutError`. The producer sent the message again with the same id when the server went on; it was confirmed, and was there once.",
    documented=Documented(
        agrees=True,
        says="The server refuses to store the same `Nats-Msg-Id` twice within the stream's window for duplicates, of two minutes by default, and its confirm says that it was a duplicate.",
        source="https://docs.nats.io/learn/jetstream/publishing#avoiding-duplicate-writes",
    ),
)
def nats_message_id(server: Server) -> Numbers:
    assert asyncio.run(_published_twice(server, **{"Nats-Msg-Id": "cat.mp4"})) == 1
    return {}


@trial(
    ASKED,
    "redis",
    "redis-py's `socket_timeout=1`",
    default=True,
    holds=False,
    short="no answer; it was there",
    says="`xadd()` raised `TimeoutError`. When the server went on, the entry was in the stream, and the producer can't know.",
)
def redis_timeout(server: Server) -> Numbers:
    with with_redis.connected(server, socket_timeout=SECONDS) as client:
        client.ping()
        with frozen(server), pytest.raises(redis.TimeoutError):
            with_redis.add(client, "cat.mp4")
    with with_redis.connected(server) as client:
        wait_until(lambda: bool(with_redis.there(client)), "the entry")
        assert with_redis.there(client) == ["cat.mp4"]
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 1",
    default=True,
    holds=False,
    short="no answer; it arrived",
    says="No confirm came within the second that the producer waited, and the connection looked open. When the server went on, the message reached the worker.",
)
def mqtt_qos_1(server: Server) -> Numbers:
    with session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos")
        with session(server) as producer:
            with frozen(server):
                sent = producer.client.publish("videos", "cat.mp4", 1)
                sent.wait_for_publish(SECONDS)
                assert not sent.is_published()
                assert producer.ended is None
            worker.comes("cat.mp4")
    return {}


@trial(
    ASKED,
    "postgresql",
    "`INSERT`, the producer ends its connection after a second",
    default=True,
    holds=False,
    short="no answer; it was there",
    says="No answer came within a second. The producer ended its connection, and the row was there when the server went on.",
)
def postgresql_insert(server: Server) -> Numbers:
    _insert_once(server, [b"cat.mp4"])
    with with_postgresql.connect(server) as connection:
        wait_until(lambda: bool(with_postgresql.waiting(connection)), "the row")
        assert with_postgresql.waiting(connection) == ["cat.mp4"]
    return {}


def _insert_once(server: Server, bodies: list[bytes], *, unique: bool = False) -> None:
    """Insert on a connection that is given up, as the server stands still."""
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        if unique:
            connection.execute("CREATE UNIQUE INDEX ON tasks (body)")
    producer = with_postgresql.connect(server).pgconn
    with frozen(server):
        producer.send_query_params(b"INSERT INTO tasks (body) VALUES ($1)", bodies)
        producer.flush()
        assert select([producer.socket], [], [], SECONDS)[0] == []
        producer.finish()


@trial(
    ASKED,
    "postgresql",
    "`INSERT … ON CONFLICT DO NOTHING` on a unique id, sent again",
    holds=True,
    short="sent again: there once",
    says="No answer came within a second. The producer ended its connection, inserted again when the server went on, and the row was there once.",
    documented=Documented(
        agrees=True,
        says="With `ON CONFLICT DO NOTHING`, a row that would violate a unique constraint is not inserted, and no error is raised.",
        source="https://www.postgresql.org/docs/18/sql-insert.html#SQL-ON-CONFLICT",
    ),
)
def postgresql_on_conflict(server: Server) -> Numbers:
    _insert_once(server, [b"cat.mp4"], unique=True)
    with with_postgresql.connect(server) as connection:
        connection.execute(
            "INSERT INTO tasks (body) VALUES ('cat.mp4') ON CONFLICT (body) DO NOTHING"
        )
        _alone(server)
        assert with_postgresql.waiting(connection) == ["cat.mp4"]
    return {}


def _alone(server: Server) -> None:
    """Wait until PostgreSQL has done what connections that are gone had sent."""
    with with_postgresql.connect(server) as connection:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND state = 'active' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: connection.execute(others).fetchone() == (0,), "the others to end")
