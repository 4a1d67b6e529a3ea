"""A message is larger than allowed: who learns of it?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import nats
import psycopg
import pytest
import redis
from aio_pika.exceptions import AMQPError, ChannelPreconditionFailed
from aiokafka.errors import MessageSizeTooLargeError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamConfig
from nats.js.errors import APIError
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

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
from tests.brokers.server import wait_until

ASKED = "too-large"


@trial(
    ASKED,
    "rabbitmq",
    "`max_message_size` of 16 MiB",
    default=True,
    holds=True,
    short="refused; channel closed",
    says="16 MiB were confirmed. With one byte more, the server closed the channel, and `publish()` raised `ChannelPreconditionFailed`. A publish after that on this channel failed too.",
    documented=Documented(
        agrees=True,
        says="Messages larger than `max_message_size` are rejected; the default is 16 MiB.",
        source="https://www.rabbitmq.com/docs/limits",
    ),
)
def rabbitmq_as_it_is(server: Server) -> Numbers:
    largest = 16 * 1024**2

    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            publish = channel.default_exchange.publish
            await publish(aio_pika.Message(bytes(largest)), queue.name)
            with pytest.raises(ChannelPreconditionFailed):
                await publish(aio_pika.Message(bytes(largest + 1)), queue.name)
            with pytest.raises((AMQPError, RuntimeError)):
                await publish(aio_pika.Message(b"cat.mp4"), queue.name)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "`max.message.bytes` of 1 MiB, aiokafka's `max_request_size` of 1 MiB",
    default=True,
    holds=True,
    short="refused by the client",
    says="`send()` raised `MessageSizeTooLargeError`, and nothing was sent.",
    documented=Documented(
        agrees=True,
        says="`max.request.size` of the producer is 1 MiB by default; the server has a limit of its own on a batch of records.",
        source="https://kafka.apache.org/44/configuration/producer-configs/#producerconfigs_max.request.size",
    ),
)
def kafka_client(server: Server) -> Numbers:
    async def proof() -> None:
        await with_kafka.create(server.address)
        async with with_kafka.producing(server.address) as producer:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(with_kafka.TOPIC, bytes(2**20))

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "`max.message.bytes` of 1 MiB, `max_request_size` of 2 MiB",
    holds=True,
    short="refused",
    says="The server refused the record, and the call raised `MessageSizeTooLargeError`. The next record went through on the same producer.",
)
def kafka_server(server: Server) -> Numbers:
    async def proof() -> None:
        await with_kafka.create(server.address)
        async with with_kafka.producing(server.address, max_request_size=2**21) as producer:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(with_kafka.TOPIC, bytes(2**20))
            assert (await producer.send_and_wait(with_kafka.TOPIC, b"cat.mp4")).offset == 0

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "nats",
    "`max_payload` of 1 MiB",
    default=True,
    holds=True,
    short="refused by the client",
    says="The client knows the server's limit: `publish()` raised `MaxPayloadError`, and nothing was sent.",
    documented=Documented(
        agrees=True,
        says="The server tells each client its limit when the connection opens, 1,048,576 bytes by default, and the client fails the call without sending.",
        source="https://docs.nats.io/learn/core-nats/publish-subscribe#the-1-mb-payload-limit",
    ),
)
def nats_max_payload(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server) as stream:
            with pytest.raises(MaxPayloadError):
                await stream.publish(with_nats.STREAM, bytes(1024**2 + 1))
            await stream.publish(with_nats.STREAM, bytes(1024**2))
            assert len(await with_nats.there(stream)) == 1

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "nats",
    "`max_payload` of 1 MiB, a body of 1 MiB and headers",
    holds=False,
    short="connection closed",
    says="The server counts headers too and nats-py does not: the message was sent, the server closed the connection, and `publish()` raised `TimeoutError`. Nothing was stored. Only the server's log and the client's `error_cb` say more.",
    documented=Documented(
        agrees=True,
        says="Headers and body together are compared with `max_payload`, and the server rejects what is beyond it.",
        source="https://docs.nats.io/learn/core-nats/headers",
    ),
)
def nats_headers(server: Server) -> Numbers:
    async def proof() -> None:
        heard: list[Exception] = []
        async with jetstream(server) as watched:
            async with await nats.connect(server.address, error_cb=_into(heard)) as client:
                with pytest.raises(NatsTimeoutError):
                    await client.jetstream().publish(
                        with_nats.STREAM, bytes(1024**2), headers={"owner": "cat"}
                    )
            assert heard
            assert (await watched.stream_info(with_nats.STREAM)).state.messages == 0

    asyncio.run(proof())
    assert "maximum payload" in server.log.read_text().lower()
    return {}


def _into(heard: list[Exception]) -> Callable[[Exception], Awaitable[None]]:
    async def hear(error: Exception) -> None:
        heard.append(error)

    return hear


@trial(
    ASKED,
    "nats",
    "`max_msg_size: 1000` of the stream",
    holds=True,
    short="refused",
    says="The server refused the message with `message size exceeds maximum allowed`, and the next one was confirmed.",
)
def nats_max_msg_size(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server, stream=StreamConfig(max_msg_size=1000)) as stream:
            with pytest.raises(APIError, match="message size exceeds maximum allowed"):
                await stream.publish(with_nats.STREAM, bytes(2000))
            await with_nats.publish(stream, "cat.mp4")
            assert await with_nats.there(stream) == ["cat.mp4"]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "redis",
    "`proto-max-bulk-len 1mb`; the default is 512 MB",
    default=True,
    holds=False,
    short="connection closed",
    says="The server closed the connection, and `xadd()` raised `ConnectionError`, without a word on the size. Nothing was added.",
    documented=Documented(
        agrees=True,
        says="By default, Redis limits a string to 512 MB by `proto-max-bulk-len`.",
        source="https://redis.io/docs/latest/develop/reference/protocol-spec/",
    ),
)
def redis_bulk_length(server: Server) -> Numbers:
    small = configured.redis("--proto-max-bulk-len", "1mb")
    with server.another(small) as own, with_redis.connected(own) as client:
        with pytest.raises(redis.ConnectionError) as caught:
            client.xadd(with_redis.STREAM, {"body": bytes(20_000_000)})
        assert "length" not in str(caught.value)
        assert client.keys() == []
        assert with_redis.add(client, "cat.mp4")
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 1, paho's `reconnect_on_failure=True`, `max_packet_size 2000000`",
    default=True,
    holds=False,
    short="endless; others wait",
    says="The server closed the connection. The client connected again by itself, sent the same message first and was closed again, time after time; a small message that was published after the large one was not confirmed either. The client is told of each closed connection in a callback, which may say `Packet too large`, and only the server's log says so each time.",
    documented=Documented(
        agrees=True,
        says="A client that sends a packet larger than `max_packet_size` is disconnected. It is 2,000,000 bytes since 2.1; earlier versions had no limit.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_endless(server: Server) -> Numbers:
    ends = threading.Semaphore(0)
    client: Any = Client(CallbackAPIVersion.VERSION2, "uploader", protocol=MQTTv5)
    client.reconnect_delay_set(1, 1)
    client.on_disconnect = lambda *_: ends.release()
    confirmed: list[int] = []
    client.on_publish = lambda *said: confirmed.append(said[2])
    client.connect(server.host, server.port_number)
    client.publish("videos", bytes(2_100_000), 1)
    client.publish("videos", b"cat.mp4", 1)
    client.loop_start()
    try:
        for _ in range(3):
            assert ends.acquire(timeout=60)
        assert confirmed == []
        wait_until(lambda: server.log.read_text().count("oversize packet") > 2, "the log")
    finally:
        client.disconnect()
        client.loop_stop()
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 1, paho's `reconnect_on_failure=False`, `max_packet_size 2000000`",
    holds=False,
    short="connection closed",
    says="The server closed the connection, and the message was not confirmed. On a new connection the next message was.",
)
def mqtt_closed(server: Server) -> Numbers:
    with session(server, clean=True) as producer, pytest.raises(ConnectionError):
        producer.publish("videos", bytes(2_100_000))
    with session(server, clean=True) as producer:
        producer.publish("videos", "cat.mp4")
    return {}


@trial(
    ASKED,
    "postgresql",
    "a queue table, `text`",
    default=True,
    holds=True,
    short="up to 1 GB",
    says="A body of 20 MB was kept and read. A value that would have more than 1 GB was refused with `ProgramLimitExceeded`.",
    documented=Documented(
        agrees=True,
        says="The longest string that can be stored is about 1 GB.",
        source="https://www.postgresql.org/docs/18/datatype-character.html",
    ),
)
def postgresql_text(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute("INSERT INTO tasks (body) VALUES (repeat('x', 20000000))")
        size = connection.execute("SELECT octet_length(body) FROM tasks").fetchone()
        assert size == (20_000_000,)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            connection.execute("INSERT INTO tasks (body) VALUES (repeat('x', 1073741824))")
    return {}


@trial(
    ASKED,
    "postgresql",
    "`NOTIFY`",
    holds=True,
    short="refused",
    says="8000 bytes were refused with `InvalidParameterValue`, and 7999 went through.",
    documented=Documented(
        agrees=True,
        says="In the default configuration, a payload must be shorter than 8000 bytes.",
        source="https://www.postgresql.org/docs/18/sql-notify.html",
    ),
)
def postgresql_notify(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute("SELECT pg_notify('videos', repeat('x', 8000))")
        connection.execute("SELECT pg_notify('videos', repeat('x', 7999))")
    return {}
