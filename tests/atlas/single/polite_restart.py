"""The server is restarted gracefully: what do its clients see, and what is there afterwards?"""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aio_pika
import nats as nats_py
import psycopg
import pytest
import redis as redis_py
from aio_pika.exceptions import ChannelNotFoundEntity
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.mqtt import Mosquitto
from tests.brokers.server import wait_until
from tests.types.test_redis import Bare

ASKED = "polite-restart"
WAITING = ["0", "1", "2"]


async def _restart_queue(server: Server, *, durable: bool, persistent: bool) -> int | None:
    """Publish, and restart; return how many wait then, or None if there is no queue."""
    mode = aio_pika.DeliveryMode.PERSISTENT if persistent else None
    ends: list[str] = []
    connection = await aio_pika.connect(server.address)
    connection.close_callbacks.add(lambda _, error: ends.append(str(error)))
    channel = await connection.channel()
    queue = await channel.declare_queue("videos", durable=durable)
    for body in WAITING:
        message = aio_pika.Message(body.encode(), delivery_mode=mode)
        await channel.default_exchange.publish(message, queue.name)
    await asyncio.to_thread(server.stop)

    async def told() -> bool:
        return bool(ends)

    await comes(told)
    assert "CONNECTION_FORCED" in ends[0]
    await asyncio.to_thread(server.start)
    async with rabbitmq.opened(server.address) as channel:
        try:
            queue = await channel.declare_queue("videos", passive=True)
        except ChannelNotFoundEntity:
            return None
        return len(await rabbitmq.rest(queue))


@trial(
    ASKED,
    "rabbitmq",
    "aio-pika's defaults: a queue that is not durable",
    default=True,
    holds=False,
    short="queue and all gone",
    says="The queue could be declared. At the restart, the client was told `CONNECTION_FORCED`; the queue was gone, and with it all {gone} confirmed messages.",
    documented=Documented(
        agrees=False,
        says="Since 4.3.0, a queue that is neither durable nor exclusive can't be declared, unless a setting permits it. This run had no such setting; its 4.3.6 is Debian's package.",
        source="https://www.rabbitmq.com/docs/queues#durability",
    ),
)
def rabbitmq_transient(server: Server) -> Numbers:
    assert asyncio.run(_restart_queue(server, durable=False, persistent=False)) is None
    return {"gone": len(WAITING)}


@trial(
    ASKED,
    "rabbitmq",
    "`durable`, messages that are not persistent, as aio-pika has it by default",
    holds=False,
    short="{gone} gone",
    says="The client was told `CONNECTION_FORCED`. The queue was there, and all {gone} confirmed messages were gone.",
)
def rabbitmq_not_persistent(server: Server) -> Numbers:
    assert asyncio.run(_restart_queue(server, durable=True, persistent=False)) == 0
    return {"gone": len(WAITING)}


@trial(
    ASKED,
    "rabbitmq",
    "`durable`, `delivery_mode` persistent",
    holds=True,
    short="all there",
    says="The client was told `CONNECTION_FORCED`. The queue and all {there} messages were there.",
)
def rabbitmq_persistent(server: Server) -> Numbers:
    there = asyncio.run(_restart_queue(server, durable=True, persistent=True))
    assert there == len(WAITING)
    return {"there": there}


async def _restart_topic(server: Server) -> list[int]:
    await kafka.create(server.address)
    await kafka.publish(server.address, [0])
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        found = [int((await worker.getone()).value)]
        await worker.commit()
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await kafka.publish(server.address, [1, 2])
        while len(found) < len(WAITING):
            found.append(int((await worker.getone()).value))
    return found


@trial(
    ASKED,
    "kafka",
    "one node, one replica",
    default=True,
    holds=True,
    short="all there, no error",
    says="The consumer saw no error: its client connected again by itself. It went on after what it had committed, and got all {there} messages once.",
)
def kafka_default(server: Server) -> Numbers:
    there = asyncio.run(_restart_topic(server))
    assert there == [0, 1, 2]
    return {"there": len(there)}


async def _restart_stream(server: Server, storage: StorageType | None) -> list[str] | None:
    """Publish, and restart; return what the consumer gets, or None if there is no stream."""
    seen: list[str] = []

    async def down() -> None:
        seen.append("down")

    async def up() -> None:
        seen.append("up")

    async with await nats_py.connect(
        server.address, disconnected_cb=down, reconnected_cb=up, max_reconnect_attempts=-1
    ) as connection:
        stream = connection.jetstream()
        await stream.add_stream(StreamConfig(name=nats.STREAM, storage=storage))
        worker = await nats.durable(stream)
        await nats.publish(stream, *WAITING)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

        async def again() -> bool:
            return seen[:1] == ["down"] and "up" in seen

        await comes(again)
        try:
            await stream.stream_info(nats.STREAM)
        except NotFoundError:
            return None
        return [message.data.decode() for message in await nats.take(worker, len(WAITING))]


@trial(
    ASKED,
    "nats",
    "`storage: file`",
    default=True,
    holds=True,
    short="all there",
    says="The client was told that it was disconnected, and connected again by itself. Stream, consumer and all {there} messages were there.",
)
def nats_file(server: Server) -> Numbers:
    there = asyncio.run(_restart_stream(server, None))
    assert there == WAITING
    return {"there": len(there)}


@trial(
    ASKED,
    "nats",
    "`storage: memory`",
    holds=False,
    short="stream and all gone",
    says="The client connected again by itself. The stream was gone, and with it its consumer and all {gone} confirmed messages.",
)
def nats_memory(server: Server) -> Numbers:
    assert asyncio.run(_restart_stream(server, StorageType.MEMORY)) is None
    return {"gone": len(WAITING)}


class NoSave(Bare):
    """Redis that keeps no file."""

    def command(self) -> list[str]:
        return [*super().command(), "--save", ""]


def _restart_redis(own: Server) -> list[str]:
    """Add, and restart while a worker waits; return what is there."""
    with ThreadPoolExecutor(1) as thread, redis.connected(own, retry=None) as client:
        client.xgroup_create("others", redis.GROUP, "0", mkstream=True)
        waits = thread.submit(client.xreadgroup, redis.GROUP, "A", {"others": ">"}, block=0)
        with redis.connected(own) as producer:
            redis.add(producer, *WAITING)
            wait_until(
                lambda: producer.info("clients")["blocked_clients"] == 1, "a worker that waits"
            )
            own.stop()
        with pytest.raises(redis_py.ConnectionError):
            waits.result(60)
    own.start()
    with redis.connected(own) as client:
        return redis.there(client)


@trial(
    ASKED,
    "redis",
    "`save` as it is by default, no append-only file",
    default=True,
    holds=True,
    short="all there",
    says="A worker that waited got a `ConnectionError`. The server wrote a snapshot before it ended, and all {there} entries were there.",
    documented=Documented(
        agrees=True,
        says="On SIGTERM, Redis saves a snapshot before it ends if it is configured to persist with RDB files.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/reference/signals/",
    ),
)
def redis_default(server: Server) -> Numbers:
    with server.another(Bare) as own:
        there = _restart_redis(own)
    assert there == WAITING
    return {"there": len(there)}


@trial(
    ASKED,
    "redis",
    '`save ""`, no append-only file',
    holds=False,
    short="{gone} gone",
    says="A worker that waited got a `ConnectionError`. All {gone} entries were gone, and so were the stream and its group.",
)
def redis_no_save(server: Server) -> Numbers:
    with server.another(NoSave) as own:
        assert not _restart_redis(own)
    return {"gone": len(WAITING)}


@trial(
    ASKED,
    "redis",
    "`appendonly yes`",
    holds=True,
    short="all there",
    says="A worker that waited got a `ConnectionError`. All {there} entries were there.",
)
def redis_append(server: Server) -> Numbers:
    there = _restart_redis(server)
    assert there == WAITING
    return {"there": len(there)}


class Forgetful(Mosquitto):
    """Mosquitto with a listener, and nothing said of persistence."""

    def prepare(self) -> None:
        super().prepare()
        self.configuration.write_text(
            f"listener {self.port_number} 127.0.0.1\nallow_anonymous true\nlog_dest stdout\n"
        )


def _restart_session(own: Server) -> list[str] | None:
    """Publish for a session, and restart; return what it gets, or None if it is gone."""
    with mqtt.session(own, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with mqtt.session(own) as producer:
        for body in WAITING:
            producer.publish("videos", body)
        own.stop()
        wait_until(lambda: producer.ended is not None, "the end of the connection")
    own.start()
    with mqtt.session(own, "worker", expiry=3600) as worker:
        if not worker.present:
            return None
        worker.comes(*WAITING)
        return worker.bodies()


@trial(
    ASKED,
    "mqtt",
    "`persistence false`, a durable session, QoS 1",
    default=True,
    holds=False,
    short="session and all gone",
    says="The connection ended. The session was gone, and with it its subscription and all {gone} confirmed messages.",
    documented=Documented(
        agrees=True,
        says="`persistence` is false by default; with it, the server saves connections, subscriptions and messages when it closes, and every 30 minutes.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_default(server: Server) -> Numbers:
    with server.another(Forgetful) as own:
        assert _restart_session(own) is None
    return {"gone": len(WAITING)}


@trial(
    ASKED,
    "mqtt",
    "`persistence true`, a durable session, QoS 1",
    holds=True,
    short="all there",
    says="The connection ended. The session was there, with all {there} messages.",
    documented=Documented(
        agrees=True,
        says="With `persistence`, connections, subscriptions and messages are written to the disk when the server closes, and read when it starts.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_persistent(server: Server) -> Numbers:
    there = _restart_session(server)
    assert there == WAITING
    return {"there": len(there)}


def _waits_for_notify(connection: psycopg.Connection) -> Any:
    for notify in connection.notifies():
        return notify
    return None


@trial(
    ASKED,
    "postgresql",
    "`pg_ctl stop`, whose mode is fast: SIGINT",
    default=True,
    holds=True,
    short="all there, an error",
    says="A worker that waited with `LISTEN` got an `OperationalError`. All {there} messages were there.",
)
def postgresql_fast(server: Server) -> Numbers:
    with postgresql.connect(server) as worker:
        postgresql.declare(worker)
        postgresql.publish(worker, *WAITING)
        worker.execute("LISTEN tasks")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            _waits_for_notify(worker)
    server.start()
    with postgresql.connect(server) as worker:
        there = postgresql.waiting(worker)
    assert there == WAITING
    return {"there": len(there)}


@trial(
    ASKED,
    "postgresql",
    "SIGTERM: a smart shutdown",
    holds=True,
    short="waits for its clients",
    says="The server did not end while a worker was connected: the worker could go on, and nobody else could connect. When the worker left, the server ended, and all {there} messages were there afterwards.",
    documented=Documented(
        agrees=True,
        says="After SIGTERM, the server allows no new connections, lets existing sessions end their work, and shuts down when all have ended.",
        source="https://www.postgresql.org/docs/18/server-shutdown.html",
    ),
)
def postgresql_smart(server: Server) -> Numbers:
    with postgresql.connect(server) as worker:
        postgresql.declare(worker)
        assert server._process
        server._signal(signal.SIGTERM, server._process.members()[:1])

        def refused() -> bool:
            try:
                postgresql.connect(server).close()
            except psycopg.OperationalError as error:
                return "shutting down" in str(error)
            return False

        wait_until(refused, "the server to refuse connections")
        postgresql.publish(worker, *WAITING)
        assert server.running
    wait_until(lambda: not server.running, "the server to end")
    server.stop()
    server.start()
    with postgresql.connect(server) as worker:
        there = postgresql.waiting(worker)
    assert there == WAITING
    return {"there": len(there)}
