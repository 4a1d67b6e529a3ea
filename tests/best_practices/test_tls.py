"""TLS on real servers: the right authority passes; a wrong one and plain text are refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import nats
import psycopg
import pytest
import trustme
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from redis.asyncio import Redis as RedisClient
from redis.exceptions import RedisError

from tests.brokers import NotFoundError, Server, make
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis
from tests.brokers.server import answers
from tests.conftest import REQUIRED
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

SNIPPET = SNIPPETS / "best_practices" / "tls" / "on_redis.py"


class Certified:
    """Certificates for a server that answers at 127.0.0.1, in its data folder."""

    data: Path
    host: str
    port_number: int

    def certify(self) -> None:
        self.own, self.stranger = trustme.CA(), trustme.CA()
        certificate = self.own.issue_cert("127.0.0.1")
        self.own.cert_pem.write_to_path(str(self.data / "ca.pem"))
        self.stranger.cert_pem.write_to_path(str(self.data / "stranger.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.data / "server.pem"))
        certificate.private_key_pem.write_to_path(str(self.data / "server.key"))

    def listens(self) -> bool:
        return answers(self.host, self.port_number)


class RedisTls(Certified, Redis):
    """Redis with TLS on its only port."""

    def prepare(self) -> None:
        super().prepare()
        self.certify()

    def command(self) -> list[str]:
        return [
            *("--tls-port" if one == "--port" else one for one in super().command()),
            *("--port", "0", "--tls-auth-clients", "no"),
            *("--tls-cert-file", f"{self.data}/server.pem"),
            *("--tls-key-file", f"{self.data}/server.key"),
        ]

    def ready(self) -> bool:
        return self.listens()


class NatsTls(Certified, Nats):
    """NATS that wants TLS of every client."""

    def prepare(self) -> None:
        super().prepare()
        self.certify()
        with self.configuration.open("a") as file:
            file.write(
                f'tls {{ cert_file: "{self.data}/server.pem",'
                f' key_file: "{self.data}/server.key" }}\n'
            )


class MosquittoTls(Certified, Mosquitto):
    """Mosquitto with TLS on its only listener."""

    def prepare(self) -> None:
        super().prepare()
        self.certify()
        with self.configuration.open("a") as file:
            file.write(f"certfile {self.data}/server.pem\nkeyfile {self.data}/server.key\n")

    def ready(self) -> bool:
        return self.listens()


class RabbitmqTls(Certified, Rabbitmq):
    """RabbitMQ with TLS on its only AMQP port."""

    def prepare(self) -> None:
        super().prepare()
        self.certify()
        file = self.data / "rabbitmq.conf"
        plain, tls = "listeners.tcp.1", "listeners.tcp = none\nlisteners.ssl.1"
        file.write_text(
            file.read_text().replace(plain, tls)
            + f"ssl_options.certfile = {self.data}/server.pem\n"
            f"ssl_options.keyfile = {self.data}/server.key\n"
        )

    def environment(self) -> dict[str, str]:
        kept = super().environment()
        return {name: kept[name] for name in kept if not name.startswith("RABBITMQ_NODE_")} | {
            "RABBITMQ_NODENAME": kept["RABBITMQ_NODENAME"]
        }

    def ready(self) -> bool:
        return self.listens() and answers(self.host, self.management)


class PostgresqlTls(Certified, Postgresql):
    """PostgreSQL that takes no connection without TLS."""

    def prepare(self) -> None:
        super().prepare()
        self.certify()
        (self.data / "server.key").chmod(0o600)
        (self.database / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")

    def command(self) -> list[str]:
        return [
            *super().command(),
            *("-c", "ssl=on", "-c", f"ssl_cert_file={self.data}/server.pem"),
            *("-c", f"ssl_key_file={self.data}/server.key"),
        ]


async def redis_by_the_snippet(server: Certified, ca: Path | None) -> str:
    ask: Callable[[str, Path | None], Coroutine[Any, Any, str]] = load(SNIPPET).ask
    scheme = "rediss" if ca else "redis"
    return await ask(f"{scheme}://127.0.0.1:{server.port_number}/0", ca)


async def by_nats(server: Certified, ca: Path | None) -> str:
    async def ignore(_: Exception) -> None: ...

    context = ssl.create_default_context(cafile=ca) if ca else None
    scheme = "tls" if ca else "nats"
    try:
        connection = await nats.connect(
            f"{scheme}://127.0.0.1:{server.port_number}",
            tls=context,
            connect_timeout=30,
            allow_reconnect=False,
            error_cb=ignore,
        )
    except ssl.SSLCertVerificationError:
        return "no trust in the server"
    except (nats.errors.Error, OSError):
        return "no connection"
    await connection.close()
    return "connected"


async def by_paho(server: Certified, ca: Path | None) -> str:
    client = Client(CallbackAPIVersion.VERSION2)
    if ca:
        client.tls_set(ca_certs=str(ca))
    try:
        await asyncio.to_thread(client.connect, "127.0.0.1", server.port_number)
        while (code := client.loop(timeout=1)) == MQTTErrorCode.MQTT_ERR_SUCCESS:
            if client.is_connected():
                client.disconnect()
                return "connected"
    except ssl.SSLCertVerificationError:
        return "no trust in the server"
    return f"no connection: {code.name}".split(":")[0]


async def by_aio_pika(server: Certified, ca: Path | None) -> str:
    context = ssl.create_default_context(cafile=ca) if ca else None
    scheme = "amqps" if ca else "amqp"
    address = f"{scheme}://guest:guest@127.0.0.1:{server.port_number}/"
    try:
        async with await aio_pika.connect(address, ssl_context=context, timeout=30):
            return "connected"
    except (OSError, aiormq.exceptions.AMQPError) as error:
        refused = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return "no trust in the server" if refused else "no connection"


async def by_psycopg(server: Certified, ca: Path | None) -> str:
    tls = f"sslmode=verify-full sslrootcert={ca}" if ca else "sslmode=disable"
    address = f"host=127.0.0.1 port={server.port_number} user=postgres {tls}"
    try:
        async with await psycopg.AsyncConnection.connect(address):
            return "connected"
    except psycopg.OperationalError as error:
        refused = "certificate verify failed" in str(error)
        return "no trust in the server" if refused else "no connection"


@dataclass(frozen=True)
class Way:
    key: str
    server: type[Any]
    ask: Callable[[Certified, Path | None], Coroutine[Any, Any, str]]


WAYS = [
    Way("rabbitmq", RabbitmqTls, by_aio_pika),
    Way("postgresql", PostgresqlTls, by_psycopg),
    Way("redis", RedisTls, redis_by_the_snippet),
    Way("nats", NatsTls, by_nats),
    Way("mqtt", MosquittoTls, by_paho),
]


@pytest.fixture(
    scope="module",
    params=[pytest.param(way, id=way.key, marks=pytest.mark.broker(way.key)) for way in WAYS],
)
def secured(request: pytest.FixtureRequest) -> Iterator[tuple[Way, Any]]:
    """A server with TLS, running, and the way to ask it."""
    way: Way = request.param
    try:
        found = make(way.key)
    except NotFoundError as error:
        if REQUIRED:
            raise
        pytest.skip(str(error))
    found.close()
    if found.given:
        pytest.skip(f"{way.key} was given by its address: we can't start it with TLS")
    with found.another(way.server) as server:
        yield way, server


def test_our_authority_passes(secured: tuple[Way, Any]) -> None:
    way, server = secured
    assert asyncio.run(way.ask(server, server.data / "ca.pem")) == "connected"


def test_another_authority_is_refused(secured: tuple[Way, Any]) -> None:
    way, server = secured
    answer = asyncio.run(way.ask(server, server.data / "stranger.pem"))
    assert answer == "no trust in the server"


def test_plain_text_is_refused(secured: tuple[Way, Any]) -> None:
    way, server = secured
    # The client of NATS goes over to TLS by itself, and asks the system's authorities.
    refused = "no trust in the server" if way.key == "nats" else "no connection"
    assert asyncio.run(way.ask(server, None)) == refused


@pytest.mark.broker("redis")
def test_redis_without_verification_trusts_anybody(server: Server) -> None:
    with server.another(RedisTls) as secured:
        url = f"rediss://127.0.0.1:{secured.port_number}/0?ssl_ca_certs={secured.data}/stranger.pem"

        async def ping(url: str) -> bool:
            async with RedisClient.from_url(url, retry=None) as redis:
                return bool(await redis.ping())

        with pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(ping(url))
        assert asyncio.run(ping(f"{url}&ssl_cert_reqs=none"))
