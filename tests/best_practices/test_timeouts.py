"""The clients' own time-outs, which the page on retries lists, and one of them at work."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from aio_pika.exchange import Exchange
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from paho.mqtt.client import Client as Mqtt
from redis.asyncio import Redis

from tests.brokers import Server

DEFAULTS: list[tuple[Callable[..., Any], str, object]] = [
    (aio_pika.connect, "timeout", None),
    (Exchange.publish, "timeout", None),
    (AIOKafkaProducer.__init__, "request_timeout_ms", 40_000),
    (AIOKafkaProducer.__init__, "enable_idempotence", False),
    (AIOKafkaConsumer.__init__, "max_poll_interval_ms", 300_000),
    (AIOKafkaConsumer.__init__, "session_timeout_ms", 10_000),
    (Nats.connect, "connect_timeout", 2),
    (Nats.connect, "ping_interval", 120),
    (JetStreamContext.__init__, "timeout", 5),
    (Redis.__init__, "socket_connect_timeout", 5),
    (Redis.__init__, "socket_timeout", 5),
    (Mqtt.connect, "keepalive", 60),
]


@pytest.mark.parametrize(
    ("function", "name", "value"), DEFAULTS, ids=[f"{f.__qualname__} {n}" for f, n, _ in DEFAULTS]
)
def test_defaults(function: Callable[..., Any], name: str, value: object) -> None:
    assert inspect.signature(function).parameters[name].default == value


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_publish_to_a_frozen_server_ends_only_by_its_timeout(server: Server) -> None:
    async def publish() -> None:
        connection = await aio_pika.connect(server.address)
        channel = await connection.channel()
        await channel.declare_queue("transcode", durable=True)
        exchange, message = channel.default_exchange, aio_pika.Message(b"cat.mp4")
        await exchange.publish(message, "transcode", timeout=20)
        server.freeze()
        try:
            with pytest.raises(TimeoutError):
                await exchange.publish(message, "transcode", timeout=0.5)
            unlimited = asyncio.create_task(exchange.publish(message, "transcode"))
            _, waiting = await asyncio.wait([unlimited], timeout=1)
            assert waiting
        finally:
            server.thaw()
        await asyncio.wait_for(unlimited, 60)
        await connection.close()

    asyncio.run(publish())
