"""A second site gets a copy of all messages: how, and what does it not have?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import nats as nats_py
import psycopg
import pytest
import redis as redis_py
from aio_pika import ExchangeType, Message
from aio_pika.abc import AbstractQueue
from nats.js.api import ExternalStream, StreamConfig, StreamSource

from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, cannot, trial
from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis
from tests.brokers.server import wait_until

ASKED = "second-site"
PUBLISHED = 3
ALL = [str(number) for number in range(PUBLISHED)]

cannot(
    ASKED,
    "kafka",
    "A server of Kafka copies nothing to another cluster by itself. MirrorMaker 2 does, a service of its own on Kafka Connect, which the tests do not have.",
)


def uri(server: Server) -> str:
    """Return the address with the virtual host's name, which Erlang's client does not guess."""
    return f"{server.address}%2F"


class Second(Rabbitmq):
    """RabbitMQ with the plugin that gets messages from elsewhere."""

    def prepare(self) -> None:
        super().prepare()
        plugins = "[rabbitmq_management,rabbitmq_shovel].\n"
        (self.data / "plugins").write_text(plugins)


async def _copied_by_shovel(first: Server, second: Rabbitmq) -> tuple[list[int], list[int]]:
    """Publish to an exchange at the first site; return what is in a queue at each."""
    async with (
        rabbitmq.opened(first.address) as here,
        rabbitmq.opened(second.address) as there,
    ):
        exchange = await here.declare_exchange("uploads", ExchangeType.FANOUT, durable=True)
        ours, theirs = await rabbitmq.declare(here), await rabbitmq.declare(there)
        await ours.bind(exchange)
        await _shovel(first, second, {"src-exchange": exchange.name, "src-exchange-key": ""})

        async def linked() -> bool:
            assert isinstance(first, Rabbitmq)
            path = "exchanges/%2F/uploads/bindings/source"
            return len(await asyncio.to_thread(first.ask, path)) > 1

        await comes(linked)
        for number in range(PUBLISHED):
            await exchange.publish(Message(b"%d" % number), "")
        return await rabbitmq.rest(ours), await _arrived(theirs)


async def _shovel(first: Server, second: Rabbitmq, source: dict[str, str]) -> None:
    shovel = {
        "src-protocol": "amqp091",
        "src-uri": uri(first),
        "dest-protocol": "amqp091",
        "dest-uri": uri(second),
        "dest-queue": rabbitmq.QUEUE,
    }
    path = "parameters/shovel/%2F/from-the-first"
    await asyncio.to_thread(second.ask, path, "PUT", {"value": shovel | source})


async def _arrived(queue: AbstractQueue) -> list[int]:
    found: list[int] = []

    async def all_there() -> bool:
        found.extend(await rabbitmq.rest(queue))
        return len(found) == PUBLISHED

    await comes(all_there)
    return found


@trial(
    ASKED,
    "rabbitmq",
    "a shovel from an exchange",
    holds=True,
    short="copies what is new",
    says="All {copied} messages that were published to the exchange came to a queue at each site. What is acknowledged at one site stays in the queue of the other.",
    documented=Documented(
        agrees=True,
        says="A shovel is a client that consumes at its source and publishes at its destination, and uses acknowledgements on both ends to cope with failures.",
        source="https://www.rabbitmq.com/docs/shovel",
    ),
)
def rabbitmq_shovel_exchange(server: Server) -> Numbers:
    with server.another(Second) as second:
        ours, theirs = asyncio.run(_copied_by_shovel(server, second))
    assert ours == theirs == [*range(PUBLISHED)]
    return {"copied": len(theirs)}


async def _shoveled(first: Server, second: Rabbitmq) -> tuple[list[int], list[int]]:
    async with (
        rabbitmq.opened(first.address) as here,
        rabbitmq.opened(second.address) as there,
    ):
        ours = await rabbitmq.declare(here)
        theirs = await rabbitmq.declare(there)
        await rabbitmq.publish(here, range(PUBLISHED))
        await _shovel(first, second, {"src-queue": ours.name})
        found = await _arrived(theirs)
        return await rabbitmq.rest(ours), found


@trial(
    ASKED,
    "rabbitmq",
    "a shovel from a queue",
    holds=True,
    short="moved, not copied",
    says="All {moved} messages came to the queue at the second site, and left the one at the first: a shovel is a consumer. For a copy, give it an exchange, or a queue of its own, at the first site.",
)
def rabbitmq_shovel(server: Server) -> Numbers:
    with server.another(Second) as second:
        ours, theirs = asyncio.run(_shoveled(server, second))
    assert not ours
    assert theirs == [*range(PUBLISHED)]
    return {"moved": len(theirs)}


class Hub(Nats):
    """NATS that others connect to, in a domain of JetStream of its own."""

    def prepare(self) -> None:
        super().prepare()
        self.leaves = self.port(7422)
        self._add(f"leafnodes {{ listen: 127.0.0.1:{self.leaves} }}\n", "hub")

    def _add(self, lines: str, domain: str) -> None:
        text = self.configuration.read_text().replace(
            "{ store_dir", f"{{ domain: {domain}, store_dir"
        )
        self.configuration.write_text(f"server_name: {domain}\n{text}{lines}")


class Leaf(Hub):
    """NATS at the second site."""

    hub: ClassVar[int] = 0

    def prepare(self) -> None:
        Nats.prepare(self)
        leaf = f'remotes: [{{ url: "nats://127.0.0.1:{self.hub}" }}]'
        self._add(f"leafnodes {{ {leaf} }}\n", "leaf")


async def _mirrored(first: Server, second: Server) -> list[str]:
    """Mirror a stream that has messages, and publish more; return the mirror's."""
    async with (
        await nats_py.connect(first.address) as here,
        await nats_py.connect(second.address) as there,
    ):
        stream, copies = here.jetstream(), there.jetstream()
        await stream.add_stream(StreamConfig(name=nats.STREAM))
        await nats.publish(stream, ALL[0])
        worker = await nats.durable(stream)
        [message] = await nats.take(worker)
        await message.ack_sync(timeout=60)
        origin = StreamSource(name=nats.STREAM, external=ExternalStream(api="$JS.hub.API"))
        await copies.add_stream(StreamConfig(name="copy", mirror=origin))
        await nats.publish(stream, *ALL[1:])

        async def arrived() -> bool:
            return (await copies.stream_info("copy")).state.messages == PUBLISHED

        await comes(arrived)
        assert not await copies.consumers_info("copy")
        return [
            ((await copies.get_msg("copy", number)).data or b"").decode()
            for number in range(1, PUBLISHED + 1)
        ]


@trial(
    ASKED,
    "nats",
    "a `mirror` over a leaf node",
    holds=True,
    short="copied, no consumers",
    says="All {copied} messages were in the mirror, those from before too, with the same sequence numbers. It had no consumer: how far the work had come at the first site, the second does not know.",
    documented=Documented(
        agrees=True,
        says="A mirror is a read-only copy at a second site; the first one confirms a publish before the mirror has it.",
        source="https://docs.nats.io/learn/backup-recovery/mirrors-and-sources",
    ),
)
def nats_mirror(server: Server) -> Numbers:
    with server.another(Hub) as first:
        leaf: type[Leaf] = type("LeafOf", (Leaf,), {"hub": first.leaves})
        with server.another(leaf) as second:
            copied = asyncio.run(_mirrored(first, second))
    assert copied == ALL
    return {"copied": len(copied)}


class Alone(Redis):
    """Redis at the second site, with its maker's settings but for the place where it listens."""

    def command(self) -> list[str]:
        return self.source.command(
            "redis-server",
            *("--port", str(self.port_number), "--dir", str(self.data)),
            *("--repl-diskless-sync-delay", "0"),
        )


@trial(
    ASKED,
    "redis",
    "`REPLICAOF`",
    holds=True,
    short="copied, read-only",
    says="All {copied} entries were at the second site, and the group with what it had acknowledged and what was pending. A write there was refused with `READONLY` until somebody promoted it.",
    documented=Documented(
        agrees=True,
        says="A replica is an exact copy of its master, made asynchronously by default, and read-only by default.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/replication/",
    ),
)
def redis_replica(server: Server) -> Numbers:
    assert isinstance(server, Redis)
    with (
        server.another(Alone) as second,
        redis.connected(server) as here,
        redis.connected(second) as there,
    ):
        redis.grouped(here)
        redis.add(here, *ALL)
        (done, _), (pending, _) = redis.read(here, count=2)
        here.xack(redis.STREAM, redis.GROUP, done)
        there.replicaof(server.host, server.port_number)
        wait_until(lambda: bool(there.exists(redis.STREAM)), "the first copy")
        with pytest.raises(redis_py.exceptions.ReadOnlyError):
            redis.add(there, "here too")
        there.replicaof("NO", "ONE")
        copied = redis.there(there)
        waits = there.xpending_range(redis.STREAM, redis.GROUP, "-", "+", 10)
        assert [one["message_id"] for one in waits] == [pending]
        assert redis.read(there)[0][1] == ALL[2]
        redis.add(there, "promoted")
    assert copied == ALL
    return {"copied": len(copied)}


class Bridged(Mosquitto):
    """Mosquitto at the first site, with a bridge to the second."""

    second: ClassVar[int] = 0
    topic: ClassVar[str] = ""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(
                f"connection second\naddress 127.0.0.1:{self.second}\nrestart_timeout 1\n"
                f"bridge_protocol_version mqttv50\ncleansession false\n{self.topic}\n"
            )


@contextmanager
def bridge(server: Server, topic: str) -> Iterator[Server]:
    """Run a first site with a bridge to the server."""
    assert isinstance(server, Mosquitto)
    settings = {"second": server.port_number, "topic": topic}
    kind: type[Bridged] = type("BridgedTo", (Bridged,), settings)
    with server.another(kind) as first, mqtt.session(server, "probe") as probe:
        probe.subscribe("probe")
        with mqtt.session(first) as producer:

            def linked() -> bool:
                producer.publish("probe", "up")
                return bool(probe.received)

            wait_until(linked, "the bridge")
        yield first


def _across(server: Server, topic: str) -> list[str]:
    """Publish at the first site while the second is up, and down; return what it gets."""
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with bridge(server, topic) as first, mqtt.session(first) as producer:
        with mqtt.session(server, "worker", expiry=3600) as worker:
            producer.publish("videos", "up")  # with QoS 0, it comes only to who is there
            worker.comes("up")
            worker.ack(worker.received[0])
            worker.settled()
        server.stop()
        for body in ALL:
            producer.publish("videos", body)
        server.start()
        with mqtt.session(server, "worker", expiry=3600) as worker:

            def linked() -> bool:
                producer.publish("videos", "again")
                return "again" in worker.bodies()

            wait_until(linked, "the bridge")
            return [body for body in worker.bodies() if body != "again"]


@trial(
    ASKED,
    "mqtt",
    "a bridge, `topic # out`, whose QoS is 0 by default",
    holds=False,
    short="{lost} of {published} lost",
    says="What was published while the second site was up came there. Of {published} messages that were published and confirmed while it was down, {lost} did not.",
    documented=Documented(
        agrees=True,
        says="The QoS of a bridge's topic is 0 unless it is given.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_bridge(server: Server) -> Numbers:
    there = _across(server, "topic # out")
    assert not there
    return {"published": PUBLISHED, "lost": PUBLISHED - len(there)}


@trial(
    ASKED,
    "mqtt",
    "a bridge, `topic # out 1`, `cleansession false`",
    holds=True,
    short="all {copied} copied",
    says="All {copied} messages that were published while the second site was down came there when it was up again. The sessions of clients stay at their own site.",
)
def mqtt_bridge_once(server: Server) -> Numbers:
    there = _across(server, "topic # out 1")
    assert there == ALL
    return {"copied": len(there)}


def _copied(server: Server, here: psycopg.Connection, there: psycopg.Connection) -> list[str]:
    """Copy the table to the second site, what is there and what comes, and end that."""
    postgresql.publish(here, ALL[0])
    here.execute("CREATE PUBLICATION copied FOR TABLE tasks")
    subscribe: Any = f"CREATE SUBSCRIPTION copy CONNECTION '{server.address}' PUBLICATION copied"
    there.execute(subscribe)
    try:
        postgresql.publish(here, *ALL[1:])
        wait_until(lambda: len(postgresql.waiting(there)) == PUBLISHED, "the copies")
        return postgresql.waiting(there)
    finally:
        there.execute("DROP SUBSCRIPTION copy")
        here.execute("DROP PUBLICATION copied")


@trial(
    ASKED,
    "postgresql",
    "logical replication, an identity column",
    holds=False,
    short="copied, not the sequence",
    says="All {copied} messages were at the second site, those from before too. When it took over, its own first publishes ended with `UniqueViolation`, {failed} times: the sequence behind the identity column had stayed at its start.",
    documented=Documented(
        agrees=True,
        says="Sequence data is not replicated: to fail over, bring the sequences up to date. The schema is not copied either.",
        source="https://www.postgresql.org/docs/18/logical-replication-restrictions.html",
    ),
)
def postgresql_logical(server: Server) -> Numbers:
    with (
        server.another(Postgresql) as second,
        postgresql.connect(server) as here,
        postgresql.connect(second) as there,
    ):
        postgresql.declare(here)
        postgresql.declare(there)
        copied = _copied(server, here, there)
        failed = 0
        while failed <= PUBLISHED:
            try:
                postgresql.publish(there, "new")
                break
            except psycopg.errors.UniqueViolation:
                failed += 1
    assert copied == ALL
    assert failed == PUBLISHED
    return {"copied": len(copied), "failed": failed}


@trial(
    ASKED,
    "postgresql",
    "logical replication, a `uuid` as the key",
    holds=True,
    short="copied",
    says="All {copied} messages were at the second site, those from before too, and it could publish when it took over.",
)
def postgresql_logical_uuid(server: Server) -> Numbers:
    create: Any = "CREATE TABLE tasks (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text)"
    with (
        server.another(Postgresql) as second,
        postgresql.connect(server) as here,
        postgresql.connect(second) as there,
    ):
        here.execute(create)
        there.execute(create)
        copied = sorted(_copied(server, here, there))
        postgresql.publish(there, "new")
        assert len(postgresql.waiting(there)) == PUBLISHED + 1
    assert copied == ALL
    return {"copied": len(copied)}
