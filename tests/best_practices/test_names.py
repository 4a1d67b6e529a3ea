"""What the page on names says of six brokers' rules, each name tried on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import aio_pika
import nats
import psycopg
import pytest
from aiokafka.admin import NewTopic
from aiormq.exceptions import AMQPError
from nats.js.errors import APIError
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from psycopg import sql
from redis.asyncio import Redis

from tests.brokers import Server
from tests.brokers.kafka import ask
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

RULES = load(SNIPPETS / "best_practices" / "names" / "check_names.py")
SECONDS = 60
NUMBERS = count()
NAMES = [
    *("video.upload.finished", "Video.Upload", "video/upload", "video:upload", "video-upload"),
    *("video upload", "größe", "", ".", "..", "video..upload", ".video", "video."),
    *("video.*", "video.>", "video/#", "video/+", "amq.video", "$SYS.video", "$SYS/video"),
    *("$JS.API.video", "$video", "__video", "pg_video", "{video}.upload", "video\\upload"),
    *("video\tupload", "video\nupload", "video\0upload", "é" * 31, "é" * 32),
    *("v" * 63, "v" * 64, "v" * 249, "v" * 250, "v" * 255, "v" * 256, "v" * 4000),
]

Keeps = Callable[[Server, str], Awaitable[bool]]


async def rabbitmq(server: Server, name: str) -> bool:
    async with await aio_pika.connect(server.address) as connection:
        channel = await connection.channel()
        try:
            queue = await channel.declare_queue(name, durable=True)
        except (AMQPError, TypeError, ValueError):
            return False
        # By AMQP: the HTTP API has no address for a queue called "..".
        await queue.delete()
        return queue.name == name


async def kafka(server: Server, name: str) -> bool:
    made = await ask(server.address, lambda admin: admin.create_topics([NewTopic(name, 1, 1)]))
    return [error[1] for error in made.topic_errors] == [0]


async def nats_jetstream(server: Server, name: str) -> bool:
    """A wildcard is taken as a subject, and then the neighbour's messages come as well."""
    async with await nats.connect(server.address) as connection:
        jetstream = connection.jetstream()
        # Each a stream of its own: with one name for all, wrong messages came now and then.
        stream = f"names{next(NUMBERS)}"
        try:
            await jetstream.add_stream(name=stream, subjects=[name])
        except APIError:
            return False
        await jetstream.publish(name, b"")
        await jetstream.publish(name.replace("*", "x").replace(">", "x"), b"")
        found = {(await jetstream.get_msg(stream, seq)).subject for seq in (1, 2)}
        await jetstream.delete_stream(stream)
        return found == {name}


async def redis(server: Server, name: str) -> bool:
    async with Redis.from_url(server.address, decode_responses=True) as client:
        await client.xadd(name, {"video": "cat.mp4"})
        return name in await client.keys()


async def mqtt(server: Server, name: str) -> bool:
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def tell(kind: str, good: bool) -> None:
        loop.call_soon_threadsafe(events.put_nowait, (kind, good))

    async def come(*kinds: str) -> bool:
        """Wait for all of them, or for one that says no."""
        missing = set(kinds)
        while missing:
            kind, good = await asyncio.wait_for(events.get(), SECONDS)
            if not good:
                return False
            missing.discard(kind)
        return True

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_subscribe = lambda *_: tell("subscribed", True)
    client.on_publish = lambda *about: tell("confirmed", not about[3].is_failure)
    client.on_message = lambda *about: tell("message", about[2].topic == name)
    client.on_disconnect = lambda *_: tell("gone", False)
    client.connect(server.host, server.port_number)
    client.loop_start()
    try:
        client.subscribe(name, qos=1)
        if not await come("subscribed"):
            return False
        client.publish(name, b"cat.mp4", qos=1)
        return await come("confirmed", "message")
    except ValueError:  # the client knows the rule itself
        return False
    finally:
        client.disconnect()
        client.loop_stop()


async def postgresql(server: Server, name: str) -> bool:
    async with await psycopg.AsyncConnection.connect(server.address) as connection:
        try:
            await connection.execute(
                sql.SQL("CREATE TEMPORARY TABLE {} ()").format(sql.Identifier(name))
            )
        except psycopg.errors.SyntaxError:
            return False
        newest = await connection.execute("SELECT relname FROM pg_class ORDER BY oid DESC LIMIT 1")
        found = await newest.fetchone()
        await connection.rollback()
        return bool(found) and found == (name,)


SERVERS: dict[str, Keeps] = {
    "rabbitmq": rabbitmq,
    "kafka": kafka,
    "nats": nats_jetstream,
    "redis": redis,
    "mqtt": mqtt,
    "postgresql": postgresql,
}


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.broker(key)) for key in SERVERS]
)
def test_the_rule_refuses_what_the_server_does_not_keep(key: str, server: Server) -> None:
    async def kept() -> dict[str, bool]:
        return {name: await SERVERS[key](server, name) for name in NAMES}

    assert asyncio.run(kept()) == {name: not getattr(RULES, key)(name) for name in NAMES}


def test_the_scheme_passes_everywhere() -> None:
    fit = [name for name in NAMES if not RULES.scheme(name)]
    assert fit == ["video.upload.finished"]
    assert not [rule for rule in RULES.BROKERS for name in fit if rule(name)]


@pytest.mark.broker("kafka")
def test_kafka_takes_a_point_for_an_underscore(server: Server) -> None:
    async def made() -> list[bool]:
        return [await kafka(server, name) for name in ("video.upload", "video_upload", "video-up")]

    assert asyncio.run(made()) == [True, False, True]


@pytest.mark.broker("redis")
def test_redis_makes_a_new_stream_under_a_name_that_was_changed(server: Server) -> None:
    async def renamed() -> list[str]:
        async with Redis.from_url(server.address, decode_responses=True) as client:
            await client.xgroup_create("uploads", "mailer", id="0", mkstream=True)
            await client.xadd("uploads", {"video": "cat.mp4"})
            await client.rename("uploads", "video.uploads")
            await client.xadd("uploads", {"video": "dog.mp4"})
            assert len(await client.xinfo_groups("video.uploads")) == 1
            assert not await client.xinfo_groups("uploads")
            return sorted(map(str, await client.keys()))

    assert asyncio.run(renamed()) == ["uploads", "video.uploads"]
