"""Messages that no publisher of ours would send, put wherever a subject takes messages from.

The names of queues come from the server itself, so that those of a new snippet are among them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

import nats
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError as InvalidRecord
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pamqp import commands, encode, frame

from tests.brokers import Server
from tests.brokers.kafka import Kafka
from tests.brokers.nats import Nats
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.survival.arena import ADMIN
from tests.survival.life import Life
from tests.survival.subjects import SENDERS, arguments, messages

BODIES = (b"\xff\xfe\x00", b"")
BODY = b'{"video": "odd.mp4"}'
#: What fields of a Redis entry are called in the snippets.
FIELDS = ("task", "event", "body", "video", "message", "question", "id", "key", "ttl", "reply_to")
_one_at_a_time = threading.Lock()


def send(life: Life, *, metadata: bool) -> None:
    """Send bodies that are no text, or bodies as usual with odd headers and ids."""
    server = life.place.front.server
    if isinstance(server, Rabbitmq):
        _to_rabbitmq(server, life.place.own, metadata=metadata)
    elif isinstance(server, Kafka):
        _to_kafka(server, life.place.own, metadata=metadata)
    elif isinstance(server, Nats):
        _to_nats(server, metadata=metadata)
    elif server.key == "redis":
        _to_redis(server)
    elif server.key == "mqtt":
        _to_mqtt(life, metadata=metadata)
    else:
        _to_postgresql(life)


def _to_rabbitmq(server: Rabbitmq, host: str, *, metadata: bool) -> None:
    odd_name = b"\x02\xff\xfe" + b"S\x00\x00\x00\x01x"
    properties = [
        b"\x20\x00" + encode.field_table({"x-delivery-count": "many", "blob": bytearray(b"\xff")}),
        b"\x20\x00" + len(odd_name).to_bytes(4, "big") + odd_name,
        b"\x80\x00\x02\xff\xfe",  # a content type that is not UTF-8
        b"\x00\x80\x02\xff\xfe",  # such a message id
    ]
    sent = [(each, BODY) for each in properties] if metadata else [(b"\0\0", b) for b in BODIES]
    listed = server.ask(f"queues/{host}?disable_stats=true")
    queues = [one["name"] for one in listed if not one["exclusive"]]
    with socket.create_connection(("127.0.0.1", server.port_number), timeout=20) as connection:
        answers = _frames(connection)

        def say(channel: int, command: Any) -> None:
            connection.sendall(frame.marshal(command, channel))

        connection.sendall(b"AMQP\x00\x00\x09\x01")
        next(answers)
        login = f"\0{ADMIN}\0{ADMIN}"
        say(0, commands.Connection.StartOk({}, "PLAIN", login, "en_US"))
        next(answers)
        say(0, commands.Connection.TuneOk(1, 131072, 0))
        say(0, commands.Connection.Open(host))
        next(answers)
        say(1, commands.Channel.Open())
        next(answers)
        for queue in queues:
            for props, body in sent:
                say(1, commands.Basic.Publish(0, "", queue))
                head = b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + props
                for kind, payload in ((2, head), *([(3, body)] if body else [])):
                    length = len(payload).to_bytes(4, "big")
                    connection.sendall(bytes([kind, 0, 1]) + length + payload + b"\xce")
        say(1, commands.Channel.Close(200, "done", 0, 0))
        next(answers)


def _frames(connection: socket.socket) -> Iterator[Any]:
    data = b""
    while True:
        taken, _, found = frame.unmarshal(data) if len(data) > 7 else (0, 0, None)
        if found is None or not taken:
            if not (more := connection.recv(65536)):
                raise ConnectionError("RabbitMQ has ended the connection")
            data += more
            continue
        data = data[taken:]
        yield found


class _NoText(str):
    """A header's name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@contextmanager
def _encoder_in_python() -> Iterator[None]:
    """Let aiokafka write a header's name that it can't read."""
    with _one_at_a_time, ExitStack() as stack:
        for module in (message_accumulator, producer):
            builder = (module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
            stack.enter_context(patch.object(*builder))
        yield


def _to_kafka(server: Kafka, prefix: str, *, metadata: bool) -> None:
    odd: list[list[tuple[str, bytes | None]]] = [
        [("x-delivery-count", b"many"), ("blob", b"\xff\x00"), ("ttl", None)],
        [(_NoText("x"), b"")],
    ]

    async def put(topics: list[str]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=server.address) as sender:
            for topic in topics:
                for headers in odd if metadata else ():
                    await sender.send_and_wait(topic, BODY, b"odd", headers=headers)
                for body in () if metadata else BODIES:
                    with suppress(InvalidRecord):  # a compacted topic takes none without a key
                        await sender.send_and_wait(topic, body or None, None if body else b"odd")

    with _encoder_in_python():
        asyncio.run(put([one for one in server.topics() if one.startswith(f"{prefix}.")]))


def _to_nats(server: Nats, *, metadata: bool) -> None:
    heads = (b"X-Odd: \xff\xfe", b"no colon", b"\xff: x", b"TTL: soon\r\nDeadline: never")
    page = f"http://127.0.0.1:{server.monitor}/connz?subs=1"
    with urllib.request.urlopen(page, timeout=10) as answer:
        connections = json.loads(answer.read())["connections"]
    listened = {each for one in connections for each in one.get("subscriptions_list", ())}
    subjects = {each for each in listened if not each.startswith(("$", "_"))}
    subjects |= set(asyncio.run(_streams(server)))
    with socket.create_connection(("127.0.0.1", server.port_number), timeout=20) as connection:
        login = json.dumps({"user": ADMIN, "pass": ADMIN, "headers": True, "verbose": False})
        out = f"CONNECT {login}\r\n".encode()
        for each in subjects:
            subject = each.replace("*", "odd").replace(">", "odd").encode()
            for head in heads if metadata else ():
                block = b"NATS/1.0\r\n" + head + b"\r\n\r\n"
                out += b"HPUB %s %d %d\r\n" % (subject, len(block), len(block + BODY))
                out += block + BODY + b"\r\n"
            for body in () if metadata else BODIES:
                out += b"PUB %s %d\r\n%s\r\n" % (subject, len(body), body)
        connection.sendall(out + b"PING\r\n")
        said = b""
        while b"PONG" not in said:
            said += connection.recv(65536)


async def _streams(server: Nats) -> list[str]:
    client = await nats.connect(f"nats://{ADMIN}:{ADMIN}@127.0.0.1:{server.port_number}")
    try:
        found = await client.jetstream().streams_info()
        return [each for one in found for each in one.config.subjects or ()]
    finally:
        await client.close()


def _to_redis(server: Server) -> None:
    with redis.Redis(port=server.port_number, username=ADMIN, password=ADMIN) as client:
        for key in client.scan_iter():
            match client.type(key):
                case b"stream":
                    for body in BODIES:
                        client.xadd(key, dict.fromkeys(FIELDS, body))
                    client.xadd(key, {b"\xff": b"\xff"})
                case b"list":
                    client.rpush(key, *BODIES)
                case b"zset":
                    client.zadd(key, dict.fromkeys(BODIES, 0))


def _to_mqtt(life: Life, *, metadata: bool) -> None:
    seen: set[str] = set()
    port = life.place.front.server.port_number
    client = Client(CallbackAPIVersion.VERSION2, "", protocol=MQTTv5)
    client.username_pw_set(ADMIN)
    client.on_message = lambda _, __, message: seen.add(message.topic)
    listens = threading.Event()
    client.on_subscribe = lambda *_: listens.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("#", 1)
    try:
        wait_until(listens.is_set, "the subscription to all topics")  # or it would miss what comes
        life.until_taken("seen")
        wait_until(lambda: bool(seen), "a message of the subject's")
        for topic in [*seen]:
            for body in (BODY, *BODIES) if metadata else BODIES:
                properties = Properties(PacketTypes.PUBLISH)
                if metadata:
                    properties.ContentType = "no/thing"
                    properties.ResponseTopic = "elsewhere"
                    properties.CorrelationData = b"\xff"
                    properties.UserProperty = [("", "many"), ("x-delivery-count", "many")]
                client.publish(topic, body, 1, properties=properties).wait_for_publish(20)
    finally:
        client.disconnect()
        client.loop_stop()


def _to_postgresql(life: Life) -> None:
    """No column of text takes what is no text; so these are texts that are no JSON."""
    bodies = ["", "{"]
    if life.subject.has("drive_feed"):
        life.beside.call("drive_feed", messages=bodies)
        return
    if life.subject.kind in {"requestor", "publisher"}:
        return
    sender = next(each for each in SENDERS if each in life.its)
    [(parameter, [example])] = messages(life.subject, sender, [""]).items()
    its = [(body, body) if isinstance(example, tuple) else body for body in bodies]
    sent = life.beside.begin(sender, **arguments(life.subject, sender), **{parameter: its})
    wait_until(lambda: sent.ended, f"{sender}() of garbage")
