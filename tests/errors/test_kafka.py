"""What Kafka says in answers and in its log, and what aiokafka and kcat make of it."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import for_code

from handbook.errors import LOG
from tests.brokers import Server
from tests.brokers.clients import SECONDS
from tests.brokers.kafka import Kafka
from tests.brokers.server import free_port, wait_until
from tests.errors.conftest import Hearing
from tests.errors.raised import error_of

pytestmark = pytest.mark.broker("kafka")

Topic = dict[str, Any]
Log = Callable[[str], str]
#: What kcat says of the time.
CLOCK = {r"\|[\d.]+\|": "|1700000000.000|", r"after \d+ms": "after 0ms"}


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """Return a function that finds the first line of the client's log that has a text."""

    def find(part: str) -> str:
        found = [each for each in caplog.records if part in each.getMessage()]
        assert found, caplog.text
        return f"{found[0].levelname}:{found[0].name}:{found[0].getMessage()}"

    # The helpers of Kafka's server make the client silent.
    with caplog.at_level(logging.INFO, logger="aiokafka"):
        yield find


@asynccontextmanager
async def admin(address: str, **options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=address, **options)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def create(address: str, topic: str, *, replicas: int = 1, **configs: str) -> None:
    """Create a topic of one partition; raise what the server answers."""
    dotted = {name.replace("_", "."): value for name, value in configs.items()}
    async with admin(address) as client:
        answer = await client.create_topics([NewTopic(topic, 1, replicas, topic_configs=dotted)])
    for _, code, message in answer.topic_errors:
        if code:
            raise for_code(code)(message)


@asynccontextmanager
async def producer(address: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    async with (
        asyncio.timeout(SECONDS),
        AIOKafkaProducer(bootstrap_servers=address, **options) as client,
    ):
        yield client


@asynccontextmanager
async def consumer(address: str, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    async with (
        asyncio.timeout(SECONDS),
        AIOKafkaConsumer(*topics, bootstrap_servers=address, **options) as client,
    ):
        yield client


Producer = Callable[[AIOKafkaProducer], Awaitable[Any]]
Consumer = Callable[[AIOKafkaConsumer], Awaitable[Any]]


def refusal(
    address: str, use: Producer, *, after: Topic | None = None, **options: Any
) -> Exception:
    """Return the error with which the use of a producer ends, after a topic was made."""

    async def ask() -> Exception:
        if after:
            await create(address, **after)
        async with producer(address, **options) as client:
            return await error_of(use(client))

    return asyncio.run(ask())


def unconnected(address: str, **options: Any) -> Exception:
    """Return the error with which an attempt to connect ends."""

    async def ask() -> None:
        async with producer(address, **options):
            pass

    return asyncio.run(error_of_all(ask()))


async def error_of_all(asked: Awaitable[Any]) -> Exception:
    return await error_of(asked)


def logged(server: Server, *parts: str) -> str:
    """Return the first line of the server's log with these parts, without its time."""

    def lines() -> list[str]:
        log = server.log.read_text(errors="replace").splitlines()
        return [line for line in log if all(part in line for part in parts)]

    wait_until(lambda: bool(lines()), f"the log to have {parts}")
    return re.sub(r"^[\d-]+ [\d:,]+ ", "", lines()[0])


def kcat(address: str, server: Server, *arguments: str, said: str = "cat") -> str:
    """Return the first line that kcat prints on standard error."""
    command = server.source.command("kcat", "-b", address, *arguments)
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.stderr.strip().partition("\n")[0]


def elsewhere(server: Server, port: int) -> str:
    return server.address.replace(str(server.port_number), str(port))


def test_unable_to_bootstrap(server: Server, said: Hearing) -> None:
    port = free_port()
    said(unconnected(elsewhere(server, port)), mask={str(port): "9092"})


def test_topic_already_exists(server: Server, said: Hearing) -> None:
    async def twice() -> None:
        for _ in "ab":
            await create(server.address, "again")

    said(asyncio.run(error_of_all(twice())))


def test_invalid_replication_factor(server: Server, said: Hearing) -> None:
    said(asyncio.run(error_of_all(create(server.address, "three", replicas=3))))


def test_invalid_topic(server: Server, said: Hearing) -> None:
    said(asyncio.run(error_of_all(create(server.address, "cat videos"))))


def test_invalid_config(server: Server, said: Hearing) -> None:
    said(asyncio.run(error_of_all(create(server.address, "typo", retention_msec="1000"))))


def test_message_size_too_large(server: Server, said: Hearing) -> None:
    said(refusal(server.address, lambda client: client.send_and_wait("any", bytes(2**20))))


def test_record_too_large(server: Server, said: Hearing) -> None:
    small = {"topic": "small", "max_message_bytes": "1000"}
    said(
        refusal(
            server.address, lambda client: client.send_and_wait("small", bytes(2000)), after=small
        )
    )
    said(kcat(server.address, server, "-P", "-t", "small", said="x" * 2000), client="kcat")


def test_out_of_order_sequence_number(server: Server, said: Hearing) -> None:
    """After a record that was refused."""

    async def use(client: AIOKafkaProducer) -> None:
        await client.send_and_wait("ordered", b"cat")
        await error_of(client.send_and_wait("ordered", bytes(2000)))
        await client.send_and_wait("ordered", b"dog")

    small = {"topic": "ordered", "max_message_bytes": "1000"}
    said(refusal(server.address, use, after=small, enable_idempotence=True))


def test_unknown_topic_or_partition(server: Server, said: Hearing) -> None:
    said(kcat(server.address, server, "-C", "-e", "-t", "missing"), client="kcat")


def test_producer_fenced(server: Server, said: Hearing) -> None:
    async def provoke() -> Exception:
        await create(server.address, "booked")
        async with AsyncExitStack() as stack:
            first, second = [
                AIOKafkaProducer(bootstrap_servers=server.address, transactional_id="booking")
                for _ in "ab"
            ]
            await first.start()
            stack.push_async_callback(first.stop)
            await first.begin_transaction()
            await first.send_and_wait("booked", b"cat")
            await second.start()
            stack.push_async_callback(second.stop)

            async def send() -> None:
                await first.send_and_wait("booked", b"dog")
                await first.commit_transaction()

            return await error_of(send())

    said(asyncio.run(provoke()))


def test_not_in_a_transaction(server: Server, said: Hearing) -> None:
    said(
        refusal(
            server.address,
            lambda client: client.send_and_wait("booked", b"cat"),
            transactional_id="no-transaction",
        )
    )


def test_producer_closed(server: Server, said: Hearing) -> None:
    async def use(client: AIOKafkaProducer) -> None:
        await client.send_and_wait("open", b"cat")
        await client.stop()
        await client.send_and_wait("open", b"dog")

    said(refusal(server.address, use, after={"topic": "open"}))


def consumed(
    server: Server, topic: str, use: Consumer, *, subscribe: bool = True, **options: Any
) -> Exception:
    """Return the error with which the use of a consumer ends; there is one record."""

    async def ask() -> Exception:
        await create(server.address, topic)
        async with producer(server.address) as client:
            await client.send_and_wait(topic, b"cat")
        topics = [topic] if subscribe else []
        async with consumer(server.address, *topics, **options) as client:
            return await error_of(use(client))

    return asyncio.run(ask())


def test_offset_out_of_range(server: Server, said: Hearing) -> None:
    async def use(client: AIOKafkaConsumer) -> None:
        place = TopicPartition("old", 0)
        client.assign([place])
        client.seek(place, 1000)
        await client.getone()

    said(consumed(server, "old", use, subscribe=False, auto_offset_reset="none"))
    start = ("-p", "0", "-o", "1000", "-X", "auto.offset.reset=error")
    said(kcat(server.address, server, "-C", "-e", "-t", "old", *start), client="kcat")


def test_no_offset(server: Server, said: Hearing) -> None:
    said(
        consumed(
            server, "new", lambda one: one.getone(), auto_offset_reset="none", group_id="first"
        )
    )


def test_partition_not_assigned(server: Server, said: Hearing) -> None:
    async def use(client: AIOKafkaConsumer) -> None:
        await client.getone()
        await client.commit({TopicPartition("another", 0): 1})

    said(consumed(server, "mine", use, auto_offset_reset="earliest", group_id="own"))


def test_commit_failed(server: Server, said: Hearing, heard: Log) -> None:
    """The group has gone on without this member, as after a handler that took too long."""

    async def use(client: Any) -> None:
        await client.getone()
        coordinator = client._coordinator
        was = coordinator.generation, coordinator.member_id
        await coordinator._maybe_leave_group()
        coordinator.generation, coordinator.member_id = was
        await client.commit()

    options: dict[str, Any] = {
        "auto_offset_reset": "earliest",
        "group_id": "workers",
        "enable_auto_commit": False,
    }
    said(consumed(server, "slow", use, **options))
    said(heard("OffsetCommit failed"))


def test_illegal_generation(server: Server, said: Hearing, heard: Log) -> None:
    """The member is still there, but the group was shared out again in the meantime."""

    async def use(client: Any) -> None:
        await client.getone()
        coordinator = client._coordinator
        was = coordinator.generation, coordinator.member_id
        coordinator.generation = 99
        try:
            await client.commit()
        finally:  # or its end would wait until the group gives the member up
            coordinator.generation, coordinator.member_id = was
            await coordinator._maybe_leave_group()

    options: dict[str, Any] = {
        "auto_offset_reset": "earliest",
        "group_id": "others",
        "enable_auto_commit": False,
    }
    consumed(server, "shared", use, **options)
    said(heard("OffsetCommit failed"))


def test_inconsistent_group_protocol(server: Server, said: Hearing) -> None:
    async def use(_: AIOKafkaConsumer) -> None:
        other = {"partition_assignment_strategy": [RoundRobinPartitionAssignor]}
        async with consumer(server.address, "mixed", group_id="mixed", **other):
            pass

    ours: dict[str, Any] = {"partition_assignment_strategy": [RangePartitionAssignor]}
    said(consumed(server, "mixed", use, group_id="mixed", **ours))


def test_invalid_session_timeout(server: Server, said: Hearing) -> None:
    async def join() -> None:
        hasty = {"session_timeout_ms": 100, "heartbeat_interval_ms": 10}
        async with consumer(server.address, "hasty", group_id="hasty", **hasty):
            pass

    said(asyncio.run(error_of_all(join())))


def test_consumer_stopped(server: Server, said: Hearing) -> None:
    async def use(client: AIOKafkaConsumer) -> None:
        await client.stop()
        await client.getone()

    said(consumed(server, "stopped", use, auto_offset_reset="earliest"))


def test_compression_library(server: Server, said: Hearing) -> None:
    said(unconnected(server.address, compression_type="snappy"))


def test_invalid_receive(server: Server, said: Hearing) -> None:
    """A browser, and then a client with TLS, at a port without: four letters read as a length."""
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"):
        with socket.create_connection((server.host, server.port_number), timeout=SECONDS) as one:
            one.sendall(first)
            assert one.recv(64) == b""
    said(logged(server, str(int.from_bytes(b"GET "))), client=LOG)
    said(logged(server, str(int.from_bytes(b"\x16\x03\x01\x02"))), client=LOG)


def test_broker_transport_failure(server: Server, said: Hearing) -> None:
    port = free_port()
    printed = kcat(elsewhere(server, port), server, "-P", "-t", "any")
    said(printed, client="kcat", mask={**CLOCK, str(port): "9092"})


def test_no_sasl_here(server: Server, said: Hearing) -> None:
    sasl = ("-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanism=PLAIN")
    name = ("-X", "sasl.username=uploader", "-X", "sasl.password=secret")
    printed = kcat(server.address, server, "-P", "-t", "any", *sasl, *name)
    said(printed, client="kcat", mask=CLOCK)


USERS = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_{}="secret";'


class Guarded(Kafka):
    """Kafka with a listener for one user who has no right, and one that leads nowhere."""

    def _format(self) -> None:
        self.named, self.astray, self.nowhere = free_port(), free_port(), free_port()
        super()._format()
        text = self.configuration.read_text()
        for line, astray in (
            ("\nlisteners=", self.astray),
            ("advertised.listeners=", self.nowhere),
        ):
            more = f"NAMED://127.0.0.1:{self.named},ASTRAY://127.0.0.1:{astray},"
            text = text.replace(f"{line}PLAINTEXT", f"{line}{more}PLAINTEXT")
        text = text.replace("protocol.map=", "protocol.map=NAMED:SASL_PLAINTEXT,ASTRAY:PLAINTEXT,")
        self.configuration.write_text(
            f"{text}authorizer.class.name="
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "super.users=User:ANONYMOUS\n"
            "sasl.enabled.mechanisms=PLAIN\n"
            f"listener.name.named.plain.sasl.jaas.config={USERS.format('uploader')}\n"
        )


@pytest.fixture(scope="module")
def guarded(server: Server) -> Iterator[Guarded]:
    with server.another(Guarded) as other:
        yield other


def user(password: str = "secret") -> dict[str, Any]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "uploader",
        "sasl_plain_password": password,
    }


def test_advertised_listeners(guarded: Guarded, said: Hearing, heard: Log) -> None:
    async def provoke() -> Exception:
        async with producer(f"127.0.0.1:{guarded.astray}") as client:
            client.client._request_timeout_ms = 500  # from now on: to start may take longer
            return await error_of(client.send_and_wait("uploads", b"cat"))

    said(asyncio.run(provoke()))
    nowhere = {str(guarded.nowhere): "19092"}
    said(heard("Unable connect to node"), mask=nowhere)


def test_authentication_failed(guarded: Guarded, said: Hearing, heard: Log) -> None:
    named = {str(guarded.named): "9092"}
    said(unconnected(f"127.0.0.1:{guarded.named}", **user("wrong")), mask=named)
    said(heard("SaslAuthenticationFailed"), mask=named)


def test_unexpected_request_during_sasl_handshake(
    guarded: Guarded, said: Hearing, heard: Log
) -> None:
    """A client without a name, at a listener that wants one."""
    named = {str(guarded.named): "9092"}
    unconnected(f"127.0.0.1:{guarded.named}")
    said(heard("Unable to request metadata"), mask=named)
    said(logged(guarded, "during SASL handshake"), client=LOG)


def test_topic_authorization_failed(guarded: Guarded, said: Hearing) -> None:
    address = f"127.0.0.1:{guarded.named}"

    async def provoke() -> Exception:
        await create(guarded.address, "secret")
        async with producer(address, **user()) as client:
            return await error_of(client.send_and_wait("secret", b"cat"))

    said(asyncio.run(provoke()))


def test_group_authorization_failed(guarded: Guarded, said: Hearing) -> None:
    async def provoke() -> Exception:
        async with consumer(f"127.0.0.1:{guarded.named}", group_id="workers", **user()) as client:
            place = TopicPartition("uploads", 0)
            client.assign([place])
            return await error_of(client.committed(place))

    said(asyncio.run(provoke()))


def test_cluster_authorization_failed(guarded: Guarded, said: Hearing) -> None:
    said(unconnected(f"127.0.0.1:{guarded.named}", enable_idempotence=True, **user()))


def test_transactional_id_authorization_failed(guarded: Guarded, said: Hearing) -> None:
    said(unconnected(f"127.0.0.1:{guarded.named}", transactional_id="booking", **user()))
