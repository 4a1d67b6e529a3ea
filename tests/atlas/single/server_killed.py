"""The server is killed right after a confirm: is the message there?"""

from __future__ import annotations

import asyncio

import aio_pika
import nats
import pytest
from aio_pika import DeliveryMode
from aio_pika.exceptions import ChannelNotFoundEntity
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NoStreamResponseError, NotFoundError

from tests.atlas.single import (
    configured,
    with_kafka,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.rabbitmq import Rabbitmq
from tests.types.test_generations import WithSqlite

ASKED = "server-killed"
CONFIRMED = 100
ALL = [*range(CONFIRMED)]


def _killed(server: Server) -> None:
    server.kill()
    server.start()


async def _published(server: Server, queue: str, mode: DeliveryMode | None) -> None:
    """Publish to a queue of RabbitMQ's, each after the confirm of the one before."""
    async with with_rabbitmq.opened(server.address) as channel:
        for number in ALL:
            message = aio_pika.Message(b"%d" % number, delivery_mode=mode)
            await channel.default_exchange.publish(message, queue)


@trial(
    ASKED,
    "rabbitmq",
    "aio-pika's `durable=False`, `delivery_mode=1`, classic queues",
    default=True,
    holds=False,
    short="all {lost} lost",
    says="All {lost} confirmed messages were gone. The queue that was not declared durable was gone too, and a durable one beside it was empty, as its messages were not persistent.",
    documented=Documented(
        agrees=True,
        says="Only a durable queue is there again after a restart, and of its messages those that were published as persistent.",
        source="https://www.rabbitmq.com/docs/queues#durability",
    ),
)
def rabbitmq_as_it_is(server: Server) -> Numbers:
    async def declared(*, durable: bool) -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            await channel.declare_queue("durable" if durable else "transient", durable=durable)
        await _published(server, "durable" if durable else "transient", None)

    async def there() -> list[int]:
        async with with_rabbitmq.opened(server.address) as channel:
            found = await with_rabbitmq.rest(await channel.get_queue("durable"))
            with pytest.raises(ChannelNotFoundEntity):
                await channel.get_queue("transient")
            return found

    asyncio.run(declared(durable=True))
    asyncio.run(declared(durable=False))
    _killed(server)
    assert asyncio.run(there()) == []
    return {"lost": 2 * CONFIRMED}


def _kept(server: Server, kind: str, mode: DeliveryMode | None) -> int:
    async def declared() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            await with_rabbitmq.declare(channel, kind)

    async def there() -> list[int]:
        async with with_rabbitmq.opened(server.address) as channel:
            return await with_rabbitmq.rest(await with_rabbitmq.declare(channel, kind))

    assert isinstance(server, Rabbitmq)
    asyncio.run(declared())
    if kind == "quorum":
        server.write_down_queues()
    asyncio.run(_published(server, with_rabbitmq.QUEUE, mode))
    _killed(server)
    assert asyncio.run(there()) == ALL
    return CONFIRMED


@trial(
    ASKED,
    "rabbitmq",
    "classic queue, `durable=True`, `delivery_mode=2`",
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed messages were there, in order.",
    documented=Documented(
        agrees=True,
        says="A persistent message for a durable queue is confirmed when it has been written to disk.",
        source="https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed",
    ),
)
def rabbitmq_persistent(server: Server) -> Numbers:
    return {"kept": _kept(server, "classic", DeliveryMode.PERSISTENT)}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `delivery_mode=1`",
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed messages were there, in order, although none was published as persistent: a quorum queue writes all to the disk.",
    documented=Documented(
        agrees=True,
        says="Quorum queues are always durable, and keep every message on disk.",
        source="https://www.rabbitmq.com/docs/quorum-queues",
    ),
)
def rabbitmq_quorum(server: Server) -> Numbers:
    return {"kept": _kept(server, "quorum", None)}


@trial(
    ASKED,
    "kafka",
    "aiokafka's `acks=1`",
    default=True,
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed records were there, in order: the operating system had them. A power cut is another question.",
    documented=Documented(
        agrees=True,
        says="Kafka writes all data to the file system at once, and by default leaves it to the operating system when it is flushed to the disk.",
        source="https://kafka.apache.org/44/operations/hardware-and-os/#application-vs-os-flush-management",
    ),
)
def kafka_as_it_is(server: Server) -> Numbers:
    async def published() -> None:
        await with_kafka.create(server.address)
        async with with_kafka.producing(server.address) as producer:
            for number in ALL:
                await producer.send_and_wait(with_kafka.TOPIC, b"%d" % number)

    async def there() -> list[int]:
        earliest = {"auto_offset_reset": "earliest"}
        async with with_kafka.consuming(server.address, group=None, **earliest) as consumer:
            return [int((await consumer.getone()).value) for _ in ALL]

    asyncio.run(published())
    _killed(server)
    assert asyncio.run(there()) == ALL
    return {"kept": CONFIRMED}


@trial(
    ASKED,
    "nats",
    "`storage: file`",
    default=True,
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed messages were there, in order: the operating system had them. A power cut is another question.",
)
def nats_file(server: Server) -> Numbers:
    async def published() -> None:
        async with jetstream(server) as stream:
            await with_nats.publish(stream, *ALL)

    async def there() -> list[str]:
        async with jetstream(server) as stream:
            return await with_nats.there(stream)

    asyncio.run(published())
    _killed(server)
    assert asyncio.run(there()) == [*map(str, ALL)]
    return {"kept": CONFIRMED}


@trial(
    ASKED,
    "nats",
    "`storage: memory`",
    holds=False,
    short="all {lost} lost",
    says="All {lost} confirmed messages were gone. So was the stream, and who published next was told that nobody listens.",
    documented=Documented(
        agrees=True,
        says="A stream in memory is faster than one in files, and is lost on restart.",
        source="https://docs.nats.io/learn/jetstream/your-first-stream",
    ),
)
def nats_memory(server: Server) -> Numbers:
    async def published() -> None:
        async with jetstream(server, stream=StreamConfig(storage=StorageType.MEMORY)) as stream:
            await with_nats.publish(stream, *ALL)
            assert len(await with_nats.there(stream)) == CONFIRMED

    async def gone() -> None:
        async with await nats.connect(server.address) as client:
            with pytest.raises(NotFoundError):
                await client.jetstream().stream_info(with_nats.STREAM)
            with pytest.raises(NoStreamResponseError):
                await with_nats.publish(client.jetstream(), "next")

    asyncio.run(published())
    _killed(server)
    asyncio.run(gone())
    return {"lost": CONFIRMED}


def _of_redis(server: Server) -> list[str]:
    """Return what is there of all that was confirmed."""
    with with_redis.connected(server) as client:
        assert len(with_redis.add(client, *ALL)) == CONFIRMED
    _killed(server)
    with with_redis.connected(server) as client:
        return with_redis.there(client)


@trial(
    ASKED,
    "redis",
    "`appendonly no`",
    default=True,
    holds=False,
    short="all {lost} lost",
    says="All {lost} confirmed entries were gone, and the stream with them: the first snapshot is taken after minutes.",
    documented=Documented(
        agrees=True,
        says="With snapshots alone, be prepared to lose the latest minutes of data when Redis stops without a correct shutdown.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_as_it_is(server: Server) -> Numbers:
    with server.another(configured.redis()) as own:
        assert _of_redis(own) == []
    return {"lost": CONFIRMED}


@trial(
    ASKED,
    "redis",
    "`appendonly yes`, `appendfsync everysec`",
    holds=False,
    short="may lose the last",
    says="{kept} of {confirmed} confirmed entries were there, the earliest ones without a gap. That is not certain: Redis may confirm an entry that it has not yet handed to the operating system, and a kill then takes the last.",
    documented=Documented(
        agrees=True,
        says="With `everysec`, which is the default of an append-only file, one second of writes can be lost.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_every_second(server: Server) -> Numbers:
    with server.another(configured.redis("--appendonly", "yes")) as own:
        there = _of_redis(own)
    assert there == [*map(str, range(len(there)))]
    return {"kept": len(there), "confirmed": CONFIRMED}


@trial(
    ASKED,
    "redis",
    "`appendonly yes`, `appendfsync always`",
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed entries were there, in order.",
    documented=Documented(
        agrees=True,
        says="With `always`, an `fsync` comes before the answer to the client.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_always(server: Server) -> Numbers:
    always = configured.redis("--appendonly", "yes", "--appendfsync", "always")
    with server.another(always) as own:
        assert _of_redis(own) == [*map(str, ALL)]
    return {"kept": CONFIRMED}


def _of_mosquitto(server: Server) -> tuple[bool, list[str]]:
    """Return whether the session was known after the kill, and what came of all confirmed."""
    with session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos")
    with session(server) as producer:
        assert {str(producer.publish("videos", str(number))) for number in ALL} == {"Success"}
    _killed(server)
    with session(server, "worker", expiry=600) as worker:
        acknowledged = -1
        while acknowledged < len(worker.received):
            acknowledged = len(worker.received)
            for message in worker.received[:acknowledged]:
                worker.ack(message)
            worker.settled()
        return worker.present, worker.bodies()


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `persistence false`",
    default=True,
    holds=False,
    short="all {lost} lost",
    says="All {lost} confirmed messages were gone, and so were the session and its subscription: what was published next would not have been kept for the worker either.",
    documented=Documented(
        agrees=True,
        says="Without `persistence true`, everything is kept in memory only. It is `false` by default.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_as_it_is(server: Server) -> Numbers:
    with server.another(configured.mosquitto()) as own:
        assert _of_mosquitto(own) == (False, [])
    return {"lost": CONFIRMED}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `persistence true`, `autosave_interval 1800`",
    holds=False,
    short="all {lost} lost",
    says="All {lost} confirmed messages were gone, with the session: the server writes its file every half an hour, and when it is ended gracefully.",
    documented=Documented(
        agrees=True,
        says="`autosave_interval` is 1800 s by default; the file is written then and when the server closes.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_persistence(server: Server) -> Numbers:
    assert _of_mosquitto(server) == (False, [])
    return {"lost": CONFIRMED}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, Mosquitto's SQLite plugin, `flush_period 0`",
    holds=True,
    short="all {kept} there",
    says="All {kept} confirmed messages were there, in order, and so was the session. The plugin comes with Mosquitto 2.1.",
)
def mqtt_sqlite(server: Server) -> Numbers:
    with server.another(WithSqlite) as own:
        assert _of_mosquitto(own) == (True, [*map(str, ALL)])
    return {"kept": CONFIRMED}


def _of_postgresql(server: Server, *settings: str) -> list[str]:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        for setting in settings:
            connection.execute(setting.encode())
        with_postgresql.publish(connection, *map(str, ALL))
    _killed(server)
    with with_postgresql.connect(server) as connection:
        return with_postgresql.waiting(connection)


@trial(
    ASKED,
    "postgresql",
    "`synchronous_commit = on`",
    default=True,
    holds=True,
    short="all {kept} there",
    says="All {kept} committed rows were there.",
    documented=Documented(
        agrees=True,
        says="With `synchronous_commit = on`, the server waits until the commit record is flushed to disk before it answers.",
        source="https://www.postgresql.org/docs/18/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT",
    ),
)
def postgresql_as_it_is(server: Server) -> Numbers:
    assert _of_postgresql(server) == [*map(str, ALL)]
    return {"kept": CONFIRMED}


@trial(
    ASKED,
    "postgresql",
    "`UNLOGGED` table",
    holds=False,
    short="all {lost} lost",
    says="The table was there, and all {lost} committed rows were gone.",
    documented=Documented(
        agrees=True,
        says="An unlogged table is not crash-safe: it is truncated after a crash or an unclean shutdown.",
        source="https://www.postgresql.org/docs/18/sql-createtable.html#SQL-CREATETABLE-UNLOGGED",
    ),
)
def postgresql_unlogged(server: Server) -> Numbers:
    assert _of_postgresql(server, "ALTER TABLE tasks SET UNLOGGED") == []
    return {"lost": CONFIRMED}


@trial(
    ASKED,
    "postgresql",
    "`synchronous_commit = off`, `wal_writer_delay = 10s`",
    holds=False,
    short="{lost} of {confirmed} lost",
    says="{lost} of {confirmed} committed rows were gone. With the default of 0.2 s, up to three times that much time can be lost.",
    documented=Documented(
        agrees=True,
        says="With `synchronous_commit = off`, the latest commits may be lost in a crash, of up to three times `wal_writer_delay`.",
        source="https://www.postgresql.org/docs/18/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT",
    ),
)
def postgresql_asynchronous(server: Server) -> Numbers:
    with server.another(configured.postgresql("wal_writer_delay=10s")) as own:
        there = _of_postgresql(own, "SET synchronous_commit = off")
    assert there == [*map(str, range(len(there)))]
    assert len(there) < CONFIRMED
    return {"lost": CONFIRMED - len(there), "confirmed": CONFIRMED}
