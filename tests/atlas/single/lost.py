"""Confirms that get lost: the server has the message, and the client does not learn of it.

What the client then sends again, it sends by itself.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.atlas.single import with_kafka
from tests.brokers import Server
from tests.brokers.server import wait_until

#: The shortest answer to a PUBLISH.
PUBACK_BYTES = 4


@asynccontextmanager
async def on_kafka(
    address: str, meanwhile: Callable[[], Awaitable[None]] | None = None, **settings: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """Start a producer whose client takes the first confirm for a time-out."""
    async with with_kafka.producing(address, **settings) as producer:
        send = producer.client.send
        lost = False

        async def without_the_first(node: int, request: Any, **options: Any) -> Any:
            nonlocal lost
            answer = await send(node, request, **options)
            if isinstance(request, ProduceRequest) and not lost:
                lost = True
                if meanwhile:
                    await meanwhile()
                raise RequestTimedOutError
            return answer

        producer.client.send = without_the_first
        yield producer


def on_mqtt(
    server: Server,
    qos: int,
    bodies: Sequence[str],
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Publish, throw the answers away, connect again, and wait until all is confirmed."""
    client = Client(CallbackAPIVersion.VERSION2, "producer", protocol=MQTTv5)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 600
    client.connect(server.host, server.port_number, clean_start=False, properties=session)

    def goes_on(condition: Callable[[], bool]) -> Callable[[], bool]:
        def look() -> bool:
            client.loop(0.02)
            return condition()

        return look

    wait_until(goes_on(client.is_connected), "MQTT to connect")
    sent = [client.publish("videos", body, qos) for body in bodies]
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    answers = b""

    def all_answered() -> bool:
        nonlocal answers
        with suppress(BlockingIOError):
            answers += connection.recv(4096)
        return len(answers) >= PUBACK_BYTES * len(bodies)

    wait_until(all_answered, "MQTT to answer")
    connection.shutdown(socket.SHUT_RDWR)
    wait_until(goes_on(lambda: not client.is_connected()), "MQTT's connection to end")
    if meanwhile:
        meanwhile()
    client.reconnect()
    wait_until(goes_on(lambda: all(one.is_published() for one in sent)), "MQTT to confirm")
    client.disconnect()
