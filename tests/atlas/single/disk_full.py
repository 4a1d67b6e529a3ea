"""The disk is full: is a message confirmed, refused, or neither?"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aio_pika
import psycopg
import pytest
import redis
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import ServiceUnavailableError

from tests.atlas.single import (
    configured,
    with_kafka,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.atlas.single.small_disk import on_small_disk
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.kafka import Kafka
from tests.brokers.server import wait_until
from tests.types.test_generations import plugins_for_sqlite

ASKED = "disk-full"
#: More messages than any of these disks has room for.
BOUND = 200


@trial(
    ASKED,
    "rabbitmq",
    "classic queue, persistent messages, `disk_free_limit.absolute = 50MB`",
    default=True,
    holds=False,
    short="no answer; all kept",
    says="With less than 50 MB free, the server stopped reading from whoever publishes: no confirm, no refusal, and the connection stayed open. All that had been confirmed was there afterwards.",
    documented=Documented(
        agrees=True,
        says="When free disk space drops below the limit, 50 MB by default, an alarm is triggered and all producers are blocked.",
        source="https://www.rabbitmq.com/docs/disk-alarms",
    ),
)
def rabbitmq_alarm(server: Server) -> Numbers:
    persistent = aio_pika.DeliveryMode.PERSISTENT

    async def published(own: Server) -> int:
        async with with_rabbitmq.opened(own.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            for number in range(BOUND):
                message = aio_pika.Message(os.urandom(1_000_000), delivery_mode=persistent)
                try:
                    async with asyncio.timeout(10):
                        await channel.default_exchange.publish(message, queue.name)
                except TimeoutError:
                    assert not channel.is_closed
                    return number
        raise AssertionError("the disk was not full")

    async def there(own: Server) -> int:
        async with with_rabbitmq.opened(own.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            return queue.declaration_result.message_count or 0

    small = on_small_disk(configured.rabbitmq("disk_free_limit.absolute = 50MB"), "mnesia", 90)
    with server.another(small) as own:
        confirmed = asyncio.run(published(own))
        assert confirmed > 0
        own.enlarge()
        assert asyncio.run(there(own)) in (confirmed, confirmed + 1)
    return {}


@trial(
    ASKED,
    "kafka",
    "one `log.dirs`, aiokafka's `request_timeout_ms=5000`",
    default=True,
    holds=False,
    short="server ends; all kept",
    says="The server could not write and ended itself, and the call got no answer: it ended when the client's time was over. Its record was not there, and all that had been confirmed was, when the server had more room.",
)
def kafka_as_it_is(server: Server) -> Numbers:
    async def published(own: Server) -> int:
        await with_kafka.create(own.address)
        async with with_kafka.producing(own.address, request_timeout_ms=5000) as producer:
            for number in range(BOUND):
                try:
                    await producer.send_and_wait(with_kafka.TOPIC, os.urandom(900_000))
                except KafkaError:
                    return number
        raise AssertionError("the disk was not full")

    async def there(own: Server) -> int:
        async with with_kafka.consuming(own.address, group=None) as consumer:
            place = TopicPartition(with_kafka.TOPIC, 0)
            return int((await consumer.end_offsets([place]))[place])

    with server.another(on_small_disk(Kafka, "log", 40)) as own:
        confirmed = asyncio.run(published(own))
        own.ends()
        own.enlarge()
        assert asyncio.run(there(own)) == confirmed > 0
    return {}


async def _fill(server: Server, error: type[Exception]) -> int:
    """Publish to NATS until it fails with this error; return how many were confirmed."""
    async with jetstream(server) as stream:
        for number in range(BOUND):
            try:
                await stream.publish(with_nats.STREAM, os.urandom(900_000))
            except error:
                return number
    raise AssertionError("the disk was not full")


async def _stored(server: Server) -> int:
    async with jetstream(server) as stream:
        return (await stream.stream_info(with_nats.STREAM)).state.messages


@trial(
    ASKED,
    "nats",
    "`max_file_store` not set",
    default=True,
    holds=True,
    short="refused; all kept",
    says="The server took three quarters of the disk of 20 MB as its limit, and refused the next message with the error `insufficient resources`. All that had been confirmed was there afterwards.",
    documented=Documented(
        agrees=True,
        says="Left unset, the limit of the storage in files is 75 % of the disk space that is available.",
        source="https://docs.nats.io/learn/deployment/sizing-and-resources",
    ),
)
def nats_as_it_is(server: Server) -> Numbers:
    with server.another(on_small_disk(configured.nats(), "jetstream", 20)) as own:
        confirmed = asyncio.run(_fill(own, ServiceUnavailableError))
        assert 14_000_000 < confirmed * 900_000 <= 16_000_000
        own.enlarge()
        assert asyncio.run(_stored(own)) == confirmed
    return {}


@trial(
    ASKED,
    "nats",
    "`max_file_store: 1TB`, more than the disk has",
    holds=False,
    short="no answer; all kept",
    says="The server could not write and answered nothing: `publish()` raised `TimeoutError`, and only the server's log says why. All that had been confirmed was there afterwards.",
    documented=Documented(
        agrees=True,
        says="Where `max_file_store` is larger than the volume, the publish that crosses the real boundary fails. Another page says that a stream without a limit takes the server down with it; in this run the server stayed up.",
        source="https://docs.nats.io/learn/deployment/sizing-and-resources",
    ),
)
def nats_too_much(server: Server) -> Numbers:
    large = configured.nats(jetstream="max_file_store: 1TB,")
    with server.another(on_small_disk(large, "jetstream", 20)) as own:
        confirmed = asyncio.run(_fill(own, NatsTimeoutError))
        assert "no space left on device" in own.log.read_text()
        assert asyncio.run(_stored(own)) == confirmed
        own.enlarge()
        assert asyncio.run(_stored(own)) == confirmed
    return {}


def _redis(server: Server, *words: str) -> Any:
    """Return a kind of Redis whose files are on a disk of 5 MB."""
    assert server

    class InFolder(configured.redis(*words)):  # type: ignore[misc]
        def command(self) -> list[str]:
            place = str(self.data)
            return [f"{place}/disk" if word == place else word for word in super().command()]

    return on_small_disk(InFolder, "disk", 5)


def _add_until(client: Any, error: type[Exception], text: str) -> int:
    """Add entries until it fails; return how many were confirmed."""
    for number in range(BOUND):
        try:
            client.xadd(with_redis.STREAM, {"body": os.urandom(100_000)})
        except error as refusal:
            return number if text in str(refusal) else -1
    raise AssertionError("the disk was not full")


@trial(
    ASKED,
    "redis",
    "snapshots only, as by default",
    default=True,
    holds=False,
    short="confirmed; all {lost} lost",
    says="All {lost} entries were confirmed, as they are in memory. The next snapshot failed, and from then on `XADD` was refused with `MISCONF`. After the server had been killed and had more room, all {lost} were gone.",
    documented=Documented(
        agrees=True,
        says="By default Redis stops accepting writes when there is a save point and the latest background save has failed.",
        source="https://github.com/redis/redis/blob/8.0/redis.conf",
    ),
)
def redis_snapshots(server: Server) -> Numbers:
    with server.another(_redis(server)) as own:
        with with_redis.connected(own) as client:
            for _ in range(100):
                client.xadd(with_redis.STREAM, {"body": os.urandom(100_000)})
            client.bgsave()
            status = "rdb_last_bgsave_status"
            wait_until(lambda: client.info("persistence")[status] == "err", "the failure")
            with pytest.raises(redis.ResponseError, match="MISCONF"):
                with_redis.add(client, "cat.mp4")
        own.enlarge()
        with with_redis.connected(own) as client:
            assert client.keys() == []
    return {"lost": 100}


@trial(
    ASKED,
    "redis",
    "`appendonly yes`, `appendfsync everysec`",
    holds=False,
    short="refused late; {lost} lost",
    says="The entry that did not fit was confirmed; only the next `XADD` was refused with `MISCONF`. After the server had been killed and had more room, {lost} of {confirmed} confirmed entries were gone.",
    documented=Documented(
        agrees=True,
        says="With `everysec`, one second of data may be lost in a disaster. The page does not speak of a full disk, after which an entry that was confirmed stays unwritten for longer.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_every_second(server: Server) -> Numbers:
    with server.another(_redis(server, "--appendonly", "yes")) as own:
        with with_redis.connected(own) as client:
            confirmed = _add_until(client, redis.ResponseError, "MISCONF")
        own.enlarge()
        with with_redis.connected(own) as client:
            kept = client.xlen(with_redis.STREAM)
    assert 0 < kept < confirmed
    return {"lost": confirmed - kept, "confirmed": confirmed}


@trial(
    ASKED,
    "redis",
    "`appendonly yes`, `appendfsync always`",
    holds=False,
    short="server ends; all kept",
    says="The server ended itself instead of confirming what it could not write, and `xadd()` raised `ConnectionError`. Its entry was not there, and all {kept} confirmed entries were, when the server had more room.",
    documented=Documented(
        agrees=True,
        says="With `always`, new commands are appended and synced before the answer is sent: very slow, very safe.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_always(server: Server) -> Numbers:
    words = ("--appendonly", "yes", "--appendfsync", "always")
    with server.another(_redis(server, *words)) as own:
        with with_redis.connected(own) as client:
            confirmed = _add_until(client, redis.ConnectionError, "")
        own.ends()
        own.enlarge()
        with with_redis.connected(own) as client:
            assert client.xlen(with_redis.STREAM) == confirmed > 0
    return {"kept": confirmed}


def _mosquitto(server: Server, *lines: str, polite: bool) -> tuple[int, int]:
    """Publish more than the disk has room for; return how many were confirmed, and came later."""
    kind = on_small_disk(configured.mosquitto(*lines), "disk", 3)
    with server.another(kind) as own:
        with session(own, "worker", expiry=600) as worker:
            worker.subscribe("videos")
        with session(own) as producer:
            for _ in range(60):
                assert str(producer.publish("videos", os.urandom(100_000))) == "Success"
        if polite:
            own.stop()
        assert ("No space left on device" in own.log.read_text()) == polite
        own.enlarge()
        with session(own, "worker", expiry=600) as worker:
            acknowledged = -1
            while acknowledged < len(worker.received):
                acknowledged = len(worker.received)
                for message in worker.received[:acknowledged]:
                    worker.ack(message)
                worker.settled()
            return 60, len(worker.received)


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `persistence true`",
    holds=False,
    short="confirmed; all {lost} lost",
    says="All {lost} messages were confirmed. When the server was ended gracefully, it could not write its file, and said so in its log. With more room it started empty: messages and session were gone.",
)
def mqtt_persistence(server: Server) -> Numbers:
    lines = ("persistence true", "persistence_location {data}/disk/")
    confirmed, came = _mosquitto(server, *lines, polite=True)
    assert came == 0
    return {"lost": confirmed}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, Mosquitto's SQLite plugin, `flush_period 0`",
    holds=False,
    short="{lost} of {confirmed} lost",
    says="All {confirmed} messages were confirmed, and those that no longer fitted were not written, without a line in the log. After the server had been killed and had more room, {lost} of them were gone.",
)
def mqtt_sqlite(server: Server) -> Numbers:
    [plugin] = plugins_for_sqlite(server)
    confirmed, came = _mosquitto(
        server,
        f"plugin {plugin}",
        "plugin_opt_db_file {data}/disk/mosquitto.sqlite3",
        "plugin_opt_flush_period 0",
        polite=False,
    )
    assert 0 < came < confirmed
    return {"confirmed": confirmed, "lost": confirmed - came}


def _insert_until_it_fails(connection: psycopg.Connection) -> int:
    for number in range(1000):
        try:
            with_postgresql.publish(connection, os.urandom(100_000).hex())
        except psycopg.OperationalError:
            return number
    raise AssertionError("the disk was not full")


@trial(
    ASKED,
    "postgresql",
    "a queue table, the write-ahead log on the full disk",
    default=True,
    holds=False,
    short="server ends; all kept",
    says="The write-ahead log had no room, and the server panicked: it ended every connection, and the `INSERT` failed with an `OperationalError`. Its row was not there, and all committed rows were, when the server had more room.",
    documented=Documented(
        agrees=True,
        says="If the disk that holds the write-ahead log grows full, the server may panic and shut down; a full data disk does not corrupt data.",
        source="https://www.postgresql.org/docs/18/disk-full.html",
    ),
)
def postgresql_table(server: Server) -> Numbers:
    with server.another(on_small_disk(configured.postgresql(), "database/pg_wal", 40)) as own:
        with with_postgresql.connect(own) as connection:
            with_postgresql.declare(connection)
            confirmed = _insert_until_it_fails(connection)
        wait_until(lambda: "PANIC" in own.log.read_text(), "the panic")
        own.enlarge()
        with with_postgresql.connect(own) as connection:
            assert len(with_postgresql.waiting(connection)) == confirmed > 0
    return {}
