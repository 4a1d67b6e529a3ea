"""What RabbitMQ says in answers and in its log, and what aio-pika makes of it."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from pamqp import commands

from handbook.errors import LOG
from tests.brokers import Server
from tests.brokers.clients import SECONDS
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import free_port, wait_until
from tests.errors.conftest import Hearing
from tests.errors.raised import error_of

pytestmark = pytest.mark.broker("rabbitmq")

Use = Callable[[AbstractChannel], Awaitable[Any]]
CAT = aio_pika.Message(b"cat.mp4")
#: Where an object is in memory.
OBJECT = {r"0x[0-9a-f]+": "0x7f0123456789"}


def refusal(address: str, use: Use, **options: Any) -> Exception:
    """Return the error with which the use of a channel ends."""

    async def ask() -> Exception:
        async with await aio_pika.connect(address) as connection:
            return await error_of(use(await connection.channel(**options)))

    return asyncio.run(ask())


def unconnected(address: str, **options: Any) -> Exception:
    """Return the error with which an attempt to connect ends."""
    return asyncio.run(error_of_all(aio_pika.connect(address, **options)))


async def error_of_all(asked: Awaitable[Any]) -> Exception:
    async with asyncio.timeout(SECONDS):
        return await error_of(asked)


async def ignore(_: AbstractIncomingMessage) -> None:
    """Take a message and leave it."""


def lines(server: Server, *parts: str) -> list[str]:
    """Return the lines of the server's log that have all these parts."""
    log = server.log.read_text(errors="replace").splitlines()
    return [line for line in log if all(part in line for part in parts)]


def logged(server: Server, *parts: str) -> str:
    """Return the first of these lines, without its date and process, once it is there."""
    wait_until(lambda: bool(lines(server, *parts)), f"the log to have {parts}")
    line = re.sub("\x1b\\[[\\d;]*m", "", lines(server, *parts)[0])
    return re.sub(r"^\S+ \S+ (\[\w+\]) <[\d.]+>", r"\1", line)


@contextmanager
def user(server: Server, name: str, *, virtual_host: bool = True) -> Iterator[str]:
    """Yield the address of a user who may do nothing, and who is gone afterwards."""
    assert isinstance(server, Rabbitmq)
    server.ask(f"users/{name}", "PUT", {"password": "secret", "tags": ""})
    if virtual_host:
        none = {"configure": "^$", "write": "^$", "read": "^$"}
        server.ask(f"permissions/%2F/{name}", "PUT", none)
    try:
        yield server.address.replace("guest:guest", f"{name}:secret")
    finally:
        server.ask(f"users/{name}", "DELETE")


def test_inequivalent_arg(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.declare_queue("transcode")
        await channel.declare_queue("transcode", durable=True)

    said(refusal(server.address, use))


def test_invalid_queue_type(server: Server, said: Hearing) -> None:
    wrong: dict[str, Any] = {"x-queue-type": "quorom"}
    said(refusal(server.address, lambda channel: channel.declare_queue("typed", arguments=wrong)))


def test_invalid_arg_for_a_quorum_queue(server: Server, said: Hearing) -> None:
    wrong: dict[str, Any] = {"x-queue-type": "quorum", "x-max-priority": 10}

    async def use(channel: AbstractChannel) -> None:
        await channel.declare_queue("ranked", durable=True, arguments=wrong)

    said(refusal(server.address, use))


def test_invalid_property_for_a_quorum_queue(server: Server, said: Hearing) -> None:
    quorum: dict[str, Any] = {"x-queue-type": "quorum"}
    said(refusal(server.address, lambda channel: channel.declare_queue("q", arguments=quorum)))


def test_no_queue(server: Server, said: Hearing) -> None:
    said(refusal(server.address, lambda channel: channel.get_queue("thumbnails")))


def test_no_exchange(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        exchange = await channel.get_exchange("uploads", ensure=False)
        await exchange.publish(CAT, "cat")

    said(refusal(server.address, use))


def test_unknown_exchange_type(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.declare_exchange("later", "x-delayed-message")

    said(refusal(server.address, use))


def test_reserved_prefix(server: Server, said: Hearing) -> None:
    said(refusal(server.address, lambda channel: channel.declare_queue("amq.transcode")))


def test_resource_locked(server: Server, said: Hearing) -> None:
    async def provoke() -> Exception:
        async with (
            await aio_pika.connect(server.address) as first,
            await aio_pika.connect(server.address) as second,
        ):
            await (await first.channel()).declare_queue("replies", exclusive=True)
            return await error_of((await second.channel()).declare_queue("replies"))

    said(asyncio.run(provoke()))


def test_exclusive_use(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("single", durable=True)
        await queue.consume(ignore, exclusive=True)
        await queue.consume(ignore)

    said(refusal(server.address, use))


def test_queue_not_empty(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("filled", durable=True)
        await channel.default_exchange.publish(CAT, queue.name)
        await queue.delete(if_unused=False)

    said(refusal(server.address, use))


def test_unknown_delivery_tag(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("twice", durable=True)
        await channel.default_exchange.publish(CAT, queue.name)
        message = await queue.get()
        underlay = await channel.get_underlay_channel()
        for _ in range(2):  # the message itself refuses a second time before it asks
            await underlay.basic_ack(message.delivery_tag or 0)
        await channel.declare_queue("twice", durable=True)

    said(refusal(server.address, use))


def test_message_already_processed(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("done", durable=True)
        message_to_be = aio_pika.Message(b"cat.mp4", message_id="cat-1")
        await channel.default_exchange.publish(message_to_be, queue.name)
        message = await queue.get()
        async with message.process():
            await message.ack()

    said(refusal(server.address, use))


def test_queue_empty(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("idle", durable=True)
        await queue.get()

    said(refusal(server.address, use))


def test_message_too_large(server: Server, said: Hearing) -> None:
    large = aio_pika.Message(bytes(16 * 1024**2 + 1))

    async def use(channel: AbstractChannel) -> None:
        await channel.default_exchange.publish(large, "transcode")

    said(refusal(server.address, use))


def test_not_implemented(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.default_exchange.publish(CAT, "transcode", immediate=True)

    said(refusal(server.address, use))


def test_no_route(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.default_exchange.publish(CAT, "nobody")

    said(refusal(server.address, use, on_return_raises=True))


def test_full(server: Server, said: Hearing) -> None:
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}

    async def use(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("full", durable=True, arguments=arguments)
        for _ in range(3):
            await channel.default_exchange.publish(CAT, queue.name)

    said(refusal(server.address, use))


def test_channel_closed(server: Server, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.close()
        await channel.declare_queue("transcode")

    said(refusal(server.address, use), mask=OBJECT)


def test_expected_channel_open(server: Server, said: Hearing) -> None:
    """As if another thread had closed the channel in between."""

    async def provoke() -> Exception:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            underlay: Any = await channel.get_underlay_channel()
            underlay.number = 7  # of no channel that was opened
            return await error_of(closing(connection, underlay.rpc(commands.Basic.Qos())))

    said(asyncio.run(provoke()))


async def closing(connection: AbstractConnection, ask: Awaitable[Any]) -> None:
    """Ask what the server answers by ending the connection, and raise why it did."""
    task = asyncio.ensure_future(ask)
    assert connection.transport
    reason = await asyncio.wait_for(connection.transport.connection.closing, SECONDS)
    task.cancel()
    if isinstance(reason, BaseException):
        raise reason


def test_login_refused(server: Server, said: Hearing) -> None:
    said(unconnected(server.address.replace("guest:guest", "guest:wrong")))
    said(logged(server, "PLAIN login refused", "'guest'"), client=LOG)


def test_vhost_not_found(server: Server, said: Hearing) -> None:
    said(unconnected(f"{server.address}videos"), mask=OBJECT)
    said(logged(server, "vhost videos not found"), client=LOG)


def test_access_to_vhost_refused(server: Server, said: Hearing) -> None:
    with user(server, "stranger", virtual_host=False) as address:
        said(unconnected(address), mask=OBJECT)
    said(logged(server, "refused for user 'stranger'"), client=LOG)


def test_access_refused(server: Server, said: Hearing) -> None:
    async def publish(channel: AbstractChannel) -> None:
        exchange = await channel.get_exchange("amq.topic", ensure=False)
        await exchange.publish(CAT, "cat")

    with user(server, "uploader") as address:
        said(refusal(address, lambda channel: channel.declare_queue("secret", durable=True)))
        said(refusal(address, publish))


def test_connection_limit(server: Server, said: Hearing) -> None:
    assert isinstance(server, Rabbitmq)
    with user(server, "camera") as address:
        server.ask("user-limits/camera/max-connections", "PUT", {"value": 0})
        said(unconnected(address), mask=OBJECT)
    said(logged(server, "refused for user 'camera'"), client=LOG)


def test_connection_refused(server: Server, said: Hearing) -> None:
    port = free_port()
    address = server.address.replace(f":{server.port_number}", f":{port}")
    said(unconnected(address), mask={str(port): "5672"})


def test_wrong_port(server: Server, said: Hearing) -> None:
    """That of the management's pages."""
    assert isinstance(server, Rabbitmq)
    address = server.address.replace(f":{server.port_number}", f":{server.management}")
    said(unconnected(address))


def test_tls_at_a_plain_port(server: Server, said: Hearing) -> None:
    """What the client says is OpenSSL's, and changes with its version; so do these numbers."""
    assert "SSL" in str(unconnected(server.address.replace("amqp:", "amqps:")))
    if server.at_least(4, 3):
        said(logged(server, "TLS client"), client=LOG)
    else:
        said(
            logged(server, "bad_header,<<22"),
            client=LOG,
            mask={r"22,3,1[,\d]*": "22,3,1,2,0,1,0,1"},
        )


def test_http_at_the_amqp_port(server: Server, said: Hearing) -> None:
    with socket.create_connection((server.host, server.port_number), timeout=SECONDS) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        said(repr(browser.recv(64)), client="Python")
    said(logged(server, "HTTP GET" if server.at_least(4, 3) else 'bad_header,<<"GET'), client=LOG)


def test_delivery_acknowledgement_timed_out(server: Server, said: Hearing) -> None:
    """Until 4.2. From 4.3 the consumer is cancelled, and nothing is said: see test_seen.py."""
    assert isinstance(server, Rabbitmq)
    if server.at_least(4, 3):
        return

    async def provoke() -> Exception:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            reason: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            channel.close_callbacks.add(lambda _, why: reason.set_result(why))
            queue = await channel.declare_queue("slow", durable=True)
            await channel.default_exchange.publish(CAT, queue.name)
            await queue.consume(ignore)
            found = await asyncio.wait_for(reason, SECONDS)
            assert isinstance(found, Exception)
            return found

    def limit(consumer: int, look_every: int) -> None:
        setting = "application:set_env(rabbit, {}, {})".format
        timeout, tick = setting("consumer_timeout", consumer), "channel_tick_interval"
        server.control("eval", f"{timeout}, {setting(tick, look_every)}.")

    limit(500, 200)
    try:
        said(asyncio.run(provoke()))
    finally:
        limit(1_800_000, 60_000)


def test_missed_heartbeats(server: Server, said: Hearing) -> None:
    """A handler that blocks the event loop keeps the client from sending any."""

    async def provoke() -> None:
        async with await aio_pika.connect(f"{server.address}?heartbeat=1") as connection:
            channel = await connection.channel()
            deadline = time.monotonic() + SECONDS
            while not lines(server, "missed heartbeats"):
                assert time.monotonic() < deadline, server.tail()
                time.sleep(0.1)  # noqa: ASYNC251
            with suppress(aio_pika.exceptions.AMQPError, OSError):
                await channel.close()

    asyncio.run(provoke())
    said(logged(server, "missed heartbeats"), client=LOG)


class Denies(Rabbitmq):
    """RabbitMQ that refuses what a later series will."""

    def prepare(self) -> None:
        super().prepare()
        with (self.data / "rabbitmq.conf").open("a") as settings:
            settings.write("deprecated_features.permit.transient_nonexcl_queues = false\n")


@pytest.fixture(scope="module")
def a_denies(server: Server) -> Iterator[Denies]:
    with server.another(Denies) as other:
        yield other


@pytest.fixture
def denies(a_denies: Denies) -> Denies:
    """Return it, running: a test may have stopped it."""
    if not a_denies.running:
        a_denies.start()
    return a_denies


def test_transient_queue(server: Server, denies: Denies, said: Hearing) -> None:
    async def use(channel: AbstractChannel) -> None:
        await channel.declare_queue("celery.pidbox", durable=False)

    async def allowed() -> None:
        async with await aio_pika.connect(server.address) as connection:
            await use(await connection.channel())

    asyncio.run(allowed())
    said(logged(server, "transient_nonexcl_queues"), client=LOG)
    said(refusal(denies.address, use))


def test_connection_forced(denies: Denies, said: Hearing) -> None:
    async def provoke() -> Exception:
        async with await aio_pika.connect(denies.address) as connection:
            stopped = asyncio.to_thread(denies.stop)
            error, _ = await asyncio.gather(
                error_of(closing(connection, asyncio.sleep(0))), stopped
            )
            return error

    said(asyncio.run(provoke()))
