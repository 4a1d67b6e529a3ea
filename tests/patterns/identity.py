"""What a message carries beside its body: sent, and found again, by each broker's own client.

The names of queues and topics are those of the snippet's copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import nats
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from paho.mqtt import publish, subscribe
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg.types.json import Jsonb
from redis.asyncio import Redis

from tests.patterns.home import load
from tests.patterns.stage import Stage

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BLOB = b"\xff\x00\xfe"  # no text, in whatever encoding one tries
SECONDS = 20

Carried = dict[str, Any]


def send(stage: Stage, body: str) -> Carried:
    """Send a message that has an identity to the pattern's first queue; return what it carries.

    The names are the broker's own where it has one, else headers. NATS, MQTT and the minibroker
    have headers of text only.
    """
    number = str(uuid4())
    carried: Carried = {"id": number, "correlation": "upload-17", "traceparent": TRACE}
    if stage.key == "minibroker":
        return stage.call("send", body=body, headers=carried) or carried
    if stage.key not in {"nats", "mqtt", "postgresql"}:
        carried["blob"] = BLOB
    if stage.key != "postgresql":
        carried["content type"] = "application/json"
    if stage.key == "kafka":
        carried["key"] = b"cat"
    _run(stage, _SEND, body.encode(), carried)
    return carried


def dead_letter(stage: Stage) -> tuple[Carried, str]:
    """Return what the newest dead letter carries, and what it says of where it came from."""
    if stage.key == "minibroker":
        headers = stage.call("letter")
        return headers, str(headers.get("death_queue") or headers.get("origin"))
    found: tuple[Carried, str] = _run(stage, _LOOK)
    return found


def _run(stage: Stage, table: Mapping[str, Callable[..., Awaitable[Any]]], *arguments: Any) -> Any:
    module = load(stage.snippet)
    queue = getattr(module, "QUEUE", None) or getattr(module, "TOPIC", "")
    dead = getattr(module, "DEAD", "")
    assert stage.server
    address = stage.server.address

    async def limited() -> Any:
        async with asyncio.timeout(SECONDS):
            return await table[stage.key](address, queue, dead, *arguments)

    return asyncio.run(limited())


async def _send_rabbitmq(url: str, queue: str, _: str, body: bytes, its: Carried) -> None:
    async with await aio_pika.connect(url) as connection:
        message = aio_pika.Message(
            body,
            message_id=its["id"],
            correlation_id=its["correlation"],
            content_type=its["content type"],
            headers={"traceparent": its["traceparent"], "blob": bytearray(its["blob"])},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        channel = await connection.channel()
        await channel.default_exchange.publish(message, queue)


async def _look_rabbitmq(url: str, _: str, dead: str) -> tuple[Carried, str]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(dead)
        letter = await queue.get()  # back with the connection
        return {
            "id": letter.message_id,
            "correlation": letter.correlation_id,
            "content type": letter.content_type,
            "traceparent": letter.headers.get("traceparent"),
            "blob": letter.headers.get("blob"),
        }, str(letter.headers)


async def _send_kafka(servers: str, topic: str, _: str, body: bytes, its: Carried) -> None:
    headers = [(name, value) for name, value in its.items() if name != "key"]
    raw = [(k, v if isinstance(v, bytes) else v.encode()) for k, v in headers]
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(topic, body, its["key"], headers=raw)


async def _look_kafka(servers: str, _: str, dead: Any) -> tuple[Carried, str]:
    topic = getattr(dead, "topic", dead)
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest"
    ) as consumer:
        [partition] = consumer.assignment()
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, end - 1)
        letter = await consumer.getone()
    headers: dict[str, Any] = {
        name: value if name == "blob" else value.decode() for name, value in letter.headers
    }
    return headers | {"key": letter.key}, str(letter.headers)


async def _send_nats(url: str, subject: str, _: str, body: bytes, its: Carried) -> None:
    async with await nats.connect(url) as connection:
        headers = {name.replace(" ", "-"): its[name] for name in its if name != "id"}
        headers["Nats-Msg-Id"] = its["id"]
        await connection.jetstream().publish(subject, body, headers=headers)


async def _look_nats(url: str, _: str, dead: str) -> tuple[Carried, str]:
    async with await nats.connect(url) as connection:
        letter = await connection.jetstream().get_last_msg(dead, dead)
        headers = dict(letter.headers or {})
        number = headers.get("Nats-Msg-Id", "")
        # The stream of dead letters looks at the id, too: a second death has something behind it.
        kind = headers.get("content-type")
        return headers | {"id": number[:36], "content type": kind}, str(headers)


async def _send_redis(url: str, stream: str, _: str, body: bytes, its: Carried) -> None:
    async with Redis.from_url(url) as redis:
        fields: dict[Any, Any] = {"body": body, **its}
        await redis.xadd(stream, fields)


async def _look_redis(url: str, _: str, dead: str) -> tuple[Carried, str]:
    async with Redis.from_url(url) as redis:
        letters: Any = await redis.xrevrange(dead, count=1)
        [(_entry, fields)] = letters
        found: dict[str, Any] = {name.decode(): value for name, value in fields.items()}
        text = {k: v if k == "blob" else v.decode(errors="replace") for k, v in found.items()}
        return text, str(text)


async def _send_mqtt(url: str, topic: str, _: str, body: bytes, its: Carried) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = its["content type"]
    properties.CorrelationData = its["correlation"].encode()
    properties.UserProperty = [("id", its["id"]), ("traceparent", its["traceparent"])]
    place = urlsplit(url)
    # With no name and a clean start, as a publisher is on its own.
    message: Any = {"topic": topic, "payload": body, "qos": 1, "properties": properties}
    await asyncio.to_thread(
        publish.multiple,
        [message],
        hostname=place.hostname or "",
        port=place.port or 1883,
        protocol=MQTTv5,
    )


async def _look_mqtt(url: str, _: str, dead: str) -> tuple[Carried, str]:
    place = urlsplit(url)
    letter: Any = await asyncio.to_thread(
        subscribe.simple,
        f"{dead}/#",
        hostname=place.hostname or "",
        port=place.port or 1883,
        protocol=MQTTv5,
    )
    had = letter.properties
    user = dict(getattr(had, "UserProperty", []))
    return {
        **user,
        "content type": getattr(had, "ContentType", None),
        "correlation": getattr(had, "CorrelationData", b"").decode(),
    }, str(user)


async def _send_postgresql(url: str, _: str, __: str, body: bytes, its: Carried) -> None:
    async with await psycopg.AsyncConnection.connect(url) as db:
        insert = "INSERT INTO task (body, headers) VALUES (%s, %s)"
        await db.execute(insert, [body.decode(), Jsonb(its)])


async def _look_postgresql(url: str, _: str, __: str) -> tuple[Carried, str]:
    async with await psycopg.AsyncConnection.connect(url) as db:
        look = "SELECT headers, origin FROM dead_task"
        found = await (await db.execute(look)).fetchone()
        assert found
        return found[0], found[1]


_SEND = {
    "rabbitmq": _send_rabbitmq,
    "kafka": _send_kafka,
    "nats": _send_nats,
    "redis": _send_redis,
    "mqtt": _send_mqtt,
    "postgresql": _send_postgresql,
}
_LOOK = {
    "rabbitmq": _look_rabbitmq,
    "kafka": _look_kafka,
    "nats": _look_nats,
    "redis": _look_redis,
    "mqtt": _look_mqtt,
    "postgresql": _look_postgresql,
}

#: Added to the minibroker's snippet, which lives in its process alone.
WITHIN = """

async def send(body, headers):
    BROKER.publish(QUEUE, body, **headers)


async def letter():
    return BROKER.find(DEAD).ready[-1].message.headers
"""
