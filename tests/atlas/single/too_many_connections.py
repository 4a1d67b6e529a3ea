"""There are more connections than allowed: what does the next one see?"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, ExitStack

import aio_pika
import nats
import psycopg
import pytest
import redis
from aio_pika.exceptions import AMQPError
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from tests.atlas.single import configured, with_kafka, with_postgresql, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

ASKED = "too-many-connections"
MOST = 3
#: Its own connections, from broker to controller, count too.
MOST_OF_KAFKA = 10
#: RabbitMQ counts a connection a moment after it is open.
COUNTED = f"""
F = fun(_, 0) -> error(late);
       (G, N) -> case rabbit_connection_tracking:count_tracked_items_in({{vhost, <<"/">>}}) of
                     {MOST} -> ok;
                     _ -> timer:sleep(50), G(G, N - 1)
                 end
    end, F(F, 1000)."""


@trial(
    ASKED,
    "rabbitmq",
    "`max-connections: 3` of the virtual host; without it, as many as the operating system allows",
    holds=False,
    short="refused, without a reason",
    says="The next connection was refused, and the {open} others went on. The server's log says `connection limit (3) is reached`; aio-pika's exception says only that the connection was closed.",
    documented=Documented(
        agrees=True,
        says="The number of concurrent client connections of a virtual host can be limited.",
        source="https://www.rabbitmq.com/docs/vhosts#limits",
    ),
)
def rabbitmq_virtual_host(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)

    async def proof() -> int:
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(await aio_pika.connect(server.address))
                for _ in range(MOST)
            ]
            await asyncio.to_thread(server.control, "eval", COUNTED)
            with pytest.raises(AMQPError):
                await aio_pika.connect(server.address)
            for connection in opened:
                await connection.channel()
            return len(opened)

    server.ask("vhost-limits/%2F/max-connections", "PUT", {"value": MOST})
    try:
        opened = asyncio.run(proof())
        wait_until(lambda: "connection limit (3) is reached" in server.tail(), "the log")
        return {"open": opened}
    finally:
        server.ask("vhost-limits/%2F/max-connections", "DELETE")


@trial(
    ASKED,
    "kafka",
    "`max.connections.per.ip=10`; the default is no limit",
    holds=False,
    short="connection closed",
    says="The server closed the next connection without a reason, and `start()` raised `KafkaConnectionError`, as if there were no server.",
    documented=Documented(
        agrees=True,
        says="New connections from an address are dropped if the limit is reached.",
        source="https://kafka.apache.org/44/configuration/broker-configs/#brokerconfigs_max.connections.per.ip",
    ),
)
def kafka_per_address(server: Server) -> Numbers:
    async def proof(own: Server) -> None:
        host, port = own.host, own.port_number
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            for _ in range(MOST_OF_KAFKA):
                _, writer = await asyncio.open_connection(host, port)
                stack.callback(writer.close)
            late = AIOKafkaProducer(bootstrap_servers=own.address, request_timeout_ms=5000)
            stack.push_async_callback(late.stop)
            with pytest.raises(KafkaConnectionError):
                await late.start()
        async with with_kafka.producing(own.address):
            pass

    with server.another(configured.kafka(f"max.connections.per.ip={MOST_OF_KAFKA}")) as own:
        asyncio.run(proof(own))
    return {}


@trial(
    ASKED,
    "nats",
    "`max_connections: 3`; the default is 65,536",
    default=True,
    holds=False,
    short="refused; reason not always",
    says="The next connection was refused, and the {open} others went on. Why is in the server's log, and not always in the client's error.",
    documented=Documented(
        agrees=True,
        says="`max_connections` is the greatest number of active client connections.",
        source="https://docs.nats.io/reference/config/max_connections",
    ),
)
def nats_max_connections(server: Server) -> Numbers:
    async def proof(own: Server) -> int:
        async def hear(_: Exception) -> None:
            """Say nothing: the client would write it to the log."""

        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(await nats.connect(own.address))
                for _ in range(MOST)
            ]
            with pytest.raises(Exception):  # noqa: B017, PT011
                await nats.connect(own.address, allow_reconnect=False, error_cb=hear)
            for connection in opened:
                await connection.flush()
            return len(opened)

    with server.another(configured.nats(f"max_connections: {MOST}")) as own:
        number = asyncio.run(proof(own))
        wait_until(lambda: "maximum connections exceeded" in own.log.read_text(), "the log")
    return {"open": number}


@trial(
    ASKED,
    "redis",
    "`maxclients 3`; the default is 10,000",
    default=True,
    holds=True,
    short="refused, with reason",
    says="The next connection was refused with `max number of clients reached`, and the {open} others went on.",
    documented=Documented(
        agrees=True,
        says="When the maximum number of clients has been reached, Redis tries to send an error to the new one and closes its connection.",
        source="https://redis.io/docs/latest/develop/reference/clients/",
    ),
)
def redis_max_clients(server: Server) -> Numbers:
    with server.another(configured.redis("--maxclients", str(MOST))) as own, ExitStack() as stack:
        clients = [stack.enter_context(with_redis.connected(own)) for _ in range(MOST)]
        assert all(client.ping() for client in clients)
        late = stack.enter_context(with_redis.connected(own))
        with pytest.raises(redis.ConnectionError, match="max number of clients reached"):
            late.ping()
        assert all(client.ping() for client in clients)
    return {"open": len(clients)}


@trial(
    ASKED,
    "mqtt",
    "`max_connections 3` of the listener; the default is no limit",
    holds=False,
    short="connection closed",
    says="The server closed the next connection without an answer, and the {open} others went on. Only the server's log says why.",
    documented=Documented(
        agrees=True,
        says="`max_connections` limits the clients that are connected to a listener; -1 means no limit.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_max_connections(server: Server) -> Numbers:
    with (
        server.another(configured.mosquitto(f"max_connections {MOST}")) as own,
        ExitStack() as stack,
    ):
        opened = [stack.enter_context(session(own, f"camera-{n}")) for n in range(MOST)]
        assert _refused(own)
        wait_until(lambda: "max_connections" in own.log.read_text(), "the log")
        for one in opened:
            one.settled()
    return {"open": len(opened)}


def _refused(server: Server) -> bool:
    """Return whether a connection is closed without an answer."""
    with socket.create_connection((server.host, server.port_number), timeout=60) as late:
        try:
            late.sendall(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x03ask")
            return late.recv(64) == b""
        except ConnectionError:
            return True


def _opens(server: Server, stack: ExitStack, opened: list[psycopg.Connection]) -> bool:
    try:
        opened.append(stack.enter_context(with_postgresql.connect(server)))
    except psycopg.OperationalError:
        return False
    return True


@trial(
    ASKED,
    "postgresql",
    "`max_connections = 100`",
    default=True,
    holds=True,
    short="refused, with reason",
    says="The next connection was refused with `sorry, too many clients already`, and the {open} others went on. Who is no superuser is refused three earlier.",
    documented=Documented(
        agrees=True,
        says="`max_connections` is typically 100, of which `superuser_reserved_connections`, three by default, are kept for superusers.",
        source="https://www.postgresql.org/docs/18/runtime-config-connection.html",
    ),
)
def postgresql_max_connections(server: Server) -> Numbers:
    with ExitStack() as stack:
        opened = [stack.enter_context(with_postgresql.connect(server)) for _ in range(97)]
        opened[0].execute("DROP ROLE IF EXISTS uploader")
        opened[0].execute("CREATE ROLE uploader LOGIN")
        try:
            with pytest.raises(psycopg.OperationalError, match="reserved for roles with"):
                psycopg.connect(server.address, user="uploader")
            for _ in range(3):  # the one that was refused may still be on its way out
                wait_until(lambda: _opens(server, stack, opened), "a free place")
            with pytest.raises(psycopg.OperationalError, match="too many clients already"):
                with_postgresql.connect(server)
            assert {row for one in opened for row in one.execute("SELECT 1")} == {(1,)}
        finally:
            opened[0].execute("DROP ROLE uploader")
    return {"open": len(opened)}
