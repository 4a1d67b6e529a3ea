"""The server restarts between a message and its copy: does it still know the id?"""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from tests.atlas.single import lost, with_kafka, with_mqtt, with_nats, with_redis
from tests.atlas.single.trial import Documented, Numbers, cannot, trial
from tests.atlas.single.with_postgresql import connect
from tests.brokers import Server
from tests.brokers.clients import jetstream

ASKED = "restarted-memory"
ID = "5f0c1a52-6e1f-4f6e-9a55-2d1c9e1d7a01"
KNOWN = "known: once"

cannot(
    ASKED,
    "rabbitmq",
    "A queue has no memory of ids that a restart could take: a copy is stored twice before and after it. People remember ids in the receiver's database.",
)


def restart(server: Server) -> None:
    server.kill()
    server.start()


@trial(
    ASKED,
    "kafka",
    "`enable_idempotence=True`, the Java client's default",
    holds=True,
    short=KNOWN,
    says="The client sent the record again by itself to the server that was back, which knew its sequence number: it was there once.",
)
def kafka_idempotent(server: Server) -> Numbers:
    async def proof() -> list[str]:
        async def meanwhile() -> None:
            await asyncio.to_thread(restart, server)

        [place] = await with_kafka.create(server.address)
        async with lost.on_kafka(
            server.address, meanwhile, enable_idempotence=True, request_timeout_ms=180_000
        ) as producer:
            await producer.send_and_wait(place.topic, b"0")
        return await with_kafka.stored(server.address, place)

    assert asyncio.run(proof()) == ["0"]
    return {}


@trial(
    ASKED,
    "nats",
    "`Nats-Msg-Id`, file storage",
    holds=True,
    short=KNOWN,
    says="The copy was confirmed as a duplicate: the server had read the ids from the stored messages.",
)
def nats_message_id(server: Server) -> Numbers:
    headers = {"Nats-Msg-Id": ID}

    async def first() -> None:
        async with jetstream(server) as stream:
            await stream.publish(with_nats.STREAM, b"0", headers=headers)

    async def second() -> tuple[bool, list[str]]:
        async with jetstream(server) as stream:
            ack = await stream.publish(with_nats.STREAM, b"0", headers=headers)
            return bool(ack.duplicate), await with_nats.there(stream)

    asyncio.run(first())
    restart(server)
    assert asyncio.run(second()) == (True, ["0"])
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD` with an id of the producer's own, no file for each write",
    holds=False,
    short="forgot entry and id",
    says="The server had forgotten the entry and its id, and took the copy: it was there once, and a worker that had read the first got it again.",
)
def redis_without_a_file(server: Server) -> Numbers:
    with server.another(with_redis.Bare) as own, with_redis.connected(own) as client:
        with_redis.grouped(client)
        client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert with_redis.read(client) == [("7-0", "0")]
        restart(own)
        with_redis.grouped(client)
        client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert with_redis.read(client) == [("7-0", "0")]
        assert with_redis.there(client) == ["0"]
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD` with an id of the producer's own, `appendonly yes`, `WAITAOF 1 0`",
    holds=True,
    short="known: refused",
    says="The entry was there after the restart, and the copy was refused with an error.",
)
def redis_append_only_file(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert client.waitaof(1, 0, 60_000)[0] == 1
        restart(server)
        with pytest.raises(ResponseError, match="equal or smaller than the target stream top item"):
            client.xadd(with_redis.STREAM, {"body": "0"}, id="7-0")
        assert with_redis.there(client) == ["0"]
    return {}


def _mqtt(server: Server, qos: int) -> tuple[list[str], list[str]]:
    """Return what a worker got before the restart and after it, when it subscribed again."""
    after: list[str] = []
    with with_mqtt.session(server, "worker", expiry=600) as before:
        before.subscribe("videos", qos)

        def meanwhile() -> None:
            restart(server)
            with with_mqtt.session(server, "worker", expiry=600) as worker:
                assert not worker.present
                worker.subscribe("videos", qos)

        lost.on_mqtt(server, qos, ["0"], meanwhile)
        with with_mqtt.session(server, "worker", expiry=600) as worker:
            worker.comes("0")
            worker.settled()
            after = worker.bodies()
    return before.bodies(), after


@trial(
    ASKED,
    "mqtt",
    "QoS 1, `persistence true`",
    holds=False,
    short="forgot all; came twice",
    says="The server had forgotten the message and all sessions; the client sent it again, and a worker that had got the first, and subscribed again, got it once more.",
    documented=Documented(
        agrees=True,
        says="`persistence` saves the database every `autosave_interval`, 1800 s by default, and at the end of the server.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_qos_1(server: Server) -> Numbers:
    assert _mqtt(server, 1) == (["0"], ["0"])
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 2 from end to end, `persistence true`",
    holds=False,
    short="forgot all; came once",
    says="The server had forgotten the packet and all sessions, before it had passed the message on; the client sent it again, and a worker that had subscribed again got it once.",
    documented=Documented(
        agrees=True,
        says="`persistence` saves the database every `autosave_interval`, 1800 s by default, and at the end of the server.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_qos_2(server: Server) -> Numbers:
    assert _mqtt(server, 2) == ([], ["0"])
    return {}


@trial(
    ASKED,
    "postgresql",
    "`UNIQUE (message_id)`, `ON CONFLICT DO NOTHING`",
    holds=True,
    short=KNOWN,
    says="The message was there once, and the second statement said that it had inserted nothing.",
)
def postgresql_unique(server: Server) -> Numbers:
    insert = "INSERT INTO tasks VALUES (%s) ON CONFLICT DO NOTHING"
    with connect(server) as connection:
        connection.execute("CREATE TABLE tasks (message_id uuid UNIQUE)")
        assert connection.execute(insert, [ID]).rowcount == 1
    restart(server)
    with connect(server) as connection:
        assert connection.execute(insert, [ID]).rowcount == 0
    return {}
