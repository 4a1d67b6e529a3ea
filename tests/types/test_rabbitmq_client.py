"""The module that RabbitMQ's snippets share: no fault ends in silence, no copy loses a thing."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import PublishError

from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

pytestmark = pytest.mark.broker(Rabbitmq.key)

QUEUE = "transcode"
PATIENCE = 90  # seconds


class Proxy:
    """Stands between a client and the server; it can cut connections, or swallow what it gets."""

    def __init__(self, port: int) -> None:
        self.behind = port
        self.swallows = False
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.behind)
        self.writers += [writer, to_server]
        await asyncio.gather(self.pass_on(reader, to_server), self.pass_on(from_server, writer))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.swallows:
                    writer.write(data)
        except OSError:
            pass
        if not self.swallows:
            writer.transport.abort()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    load(SNIPPETS / "patterns" / "work_queue" / "on_rabbitmq.py")
    module = sys.modules["rabbitmq_client"]
    monkeypatch.setattr(module, "URL", server.address)
    monkeypatch.setattr(module, "HEARTBEAT", 2)
    return module


@asynccontextmanager
async def behind_a_proxy(client: Any, server: Rabbitmq) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port_number)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with client.connect() as channel:
        await client.declare_queue(channel, QUEUE, {})
    client.URL = f"amqp://guest:guest@127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    try:
        yield proxy
    finally:
        proxy.cut()
        listening.close()


async def cut(proxy: Proxy, _: Rabbitmq) -> None:
    proxy.cut()


async def silence(proxy: Proxy, _: Rabbitmq) -> None:
    proxy.swallows = True


async def restart(_: Proxy, server: Rabbitmq) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


async def delete(_: Proxy, server: Rabbitmq) -> None:
    await asyncio.to_thread(server.ask, f"queues/%2F/{QUEUE}", "DELETE")


async def publish_raw(server: Server, properties: bytes, body: bytes) -> None:
    """Publish with properties byte by byte: no client would write these."""
    frames = b""
    for kind, payload in (
        (1, b"\x00\x3c\x00\x28\x00\x00\x00" + bytes([len(QUEUE)]) + QUEUE.encode() + b"\x00"),
        (2, b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + properties),
        (3, body),
    ):
        frames += bytes([kind, 0, 1]) + len(payload).to_bytes(4, "big") + payload + b"\xce"
    async with await aio_pika.connect(server.address) as connection:
        channel = await connection.channel(1, publisher_confirms=False)
        underlay: Any = await channel.get_underlay_channel()
        writer = underlay.connection._writer_task.task.get_coro().cr_frame.f_locals["writer"]
        writer.write(frames)
        await writer.drain()
        await channel.set_qos(1)  # its answer comes when the message was taken


Fault = Callable[[Proxy, Rabbitmq], Awaitable[None]]


@pytest.mark.parametrize("held", [False, True], ids=["idle", "at work"])
@pytest.mark.parametrize("fault", [cut, silence, restart])
def test_a_worker_whose_connection_is_lost_says_so(
    fault: Fault, held: bool, client: Any, server: Rabbitmq
) -> None:
    async def proof() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with client.open_consumer(QUEUE) as (_, messages):
                async for message in messages:
                    begun.set()
                    await go_on.wait()
                    await message.ack()

        async with behind_a_proxy(client, server) as proxy:
            async with client.connect() as channel:
                await client.publish(channel, QUEUE, b"cat.mp4")
            working = asyncio.create_task(work())
            await asyncio.wait_for(begun.wait(), PATIENCE)
            if not held:
                go_on.set()
                await asyncio.sleep(0.2)
            await fault(proxy, server)
            if fault is silence and held:
                await asyncio.sleep(12)  # three heartbeats, and some
            go_on.set()
            told = "it does not answer" if fault is silence else r"\S.*\w"
            with pytest.raises(ConnectionError, match=rf"^RabbitMQ is lost: {told}"):
                await asyncio.wait_for(working, PATIENCE)

    asyncio.run(proof())


def test_a_consumer_that_gets_nothing_more_says_why(client: Any, server: Rabbitmq) -> None:
    async def proof() -> None:
        at_work = asyncio.Event()  # the server's list of consumers may have one that is gone

        async def work() -> None:
            async with client.open_consumer(QUEUE) as (_, messages):
                async for message in messages:
                    await message.ack()
                    at_work.set()

        async with behind_a_proxy(client, server) as proxy:
            await publish_raw(server, b"\x00\x00", b"cat.mp4")
            working = asyncio.create_task(work())
            await asyncio.wait_for(at_work.wait(), PATIENCE)
            await delete(proxy, server)
            with pytest.raises(ConnectionError, match="it has cancelled a consumer"):
                await asyncio.wait_for(working, PATIENCE)

    asyncio.run(proof())


ODD_NAME = b"\x02\xff\xfeS\x00\x00\x00\x01x"


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        (b"\x80\x00\x02\xff\xfe", {"content_type": None, "message_id": None}),
        (b"\x80\x80\x03a/b\x02\xff\xfe", {"content_type": "a/b", "message_id": None}),
        (b"\x20\x00" + len(ODD_NAME).to_bytes(4, "big") + ODD_NAME, {"headers": {}}),
    ],
    ids=["content type", "message id", "name of a header"],
)
def test_a_message_whose_head_is_not_utf8_comes_without_what_cannot_be_read(
    properties: bytes, kept: dict[str, Any], client: Any, server: Rabbitmq
) -> None:
    """aio-pika alone ends the connection there, and each worker's after it."""

    async def proof() -> None:
        async with client.connect() as channel:
            await client.declare_queue(channel, QUEUE, {})
            await publish_raw(server, properties, b"cat.mp4")
            [message] = await client.look(channel, QUEUE, 1)
            assert message.body == b"cat.mp4"
            assert {name: getattr(message, name) for name in kept} == kept
            await client.forward(channel, QUEUE, message, {})
            await message.ack()
            [again] = await client.look(channel, QUEUE, 1)
            assert again.body == b"cat.mp4"

    asyncio.run(proof())


def test_a_server_that_takes_a_connection_and_says_nothing_is_named(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proof() -> None:
        held: list[asyncio.StreamWriter] = []

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        monkeypatch.setattr(client, "URL", f"amqp://guest:guest@127.0.0.1:{port}/")
        monkeypatch.setattr(client, "clock", partial(client.clock, seconds=1))
        with pytest.raises(TimeoutError, match="no connection after 1 s"):
            async with client.connect():
                pass
        for writer in held:
            writer.close()
        listening.close()

    asyncio.run(proof())


def test_a_publisher_that_is_not_answered_gives_up(
    client: Any, server: Rabbitmq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "clock", partial(client.clock, seconds=2))
    monkeypatch.setattr(client, "HEARTBEAT", 60)

    async def proof() -> None:
        async with behind_a_proxy(client, server) as proxy, client.connect() as channel:
            with pytest.raises(PublishError):
                await client.publish(channel, "nowhere", b"cat.mp4")
            proxy.swallows = True
            with pytest.raises(TimeoutError, match="no confirm"):
                await client.publish(channel, QUEUE, b"cat.mp4")

    asyncio.run(proof())


def test_a_window_whose_connection_is_given_up_does_not_return(
    client: Any, server: Rabbitmq
) -> None:
    """aio-pika cancels what waits then, and a TaskGroup lets a cancelled task pass."""
    snippet: Any = load(SNIPPETS / "best_practices" / "service_window" / "on_rabbitmq.py")

    async def run() -> None:
        async with behind_a_proxy(client, server) as proxy, client.connect() as channel:
            proxy.swallows = True
            window = asyncio.create_task(snippet.submit(channel, ["cat.mp4", "dog.mp4"]))
            done, _ = await asyncio.wait([window], timeout=PATIENCE)
            assert done
            with pytest.raises(ExceptionGroup) as failed:
                window.result()
            assert all("RabbitMQ is lost" in str(one) for one in failed.value.exceptions)

    with pytest.raises(ConnectionError, match="RabbitMQ is lost"):
        asyncio.run(run())


def test_a_copy_keeps_what_the_message_carries(client: Any) -> None:
    carried = {
        "message_id": "upload-17",
        "correlation_id": "booking-4",
        "content_type": "application/json",
        "type": "uploaded",
        "app_id": "uploader",
    }
    headers = {
        "traceparent": "00-0af7-b7ad-01",
        "blob": bytearray(b"\xff\x00"),
        "nested": {"tries": [1, 2]},
    }

    async def proof() -> None:
        async with client.connect() as channel:
            await client.declare_queue(channel, QUEUE, {})
            await client.publish(
                channel, QUEUE, b"\xff", headers=headers, user_id="guest", **carried
            )
            [message] = await client.look(channel, QUEUE, 1)
            await client.forward(channel, QUEUE, message, {"attempt": 2})
            await message.ack()
            [again] = await client.look(channel, QUEUE, 1)
            await again.ack()
        assert {name: getattr(again, name) for name in carried} == carried
        assert again.headers == headers | {"attempt": 2}
        assert again.body == b"\xff"
        assert again.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert again.user_id is None

    asyncio.run(proof())


def headers_of_a_copy(client: Any, server: Rabbitmq, table: bytes) -> Any:
    """Publish a message with this field table as its headers, and return those of its copy."""

    async def copied() -> Any:
        async with client.connect() as channel:
            await client.declare_queue(channel, QUEUE, {})
            await publish_raw(
                server, b"\x20\x00" + len(table).to_bytes(4, "big") + table, b"cat.mp4"
            )
            [message] = await client.look(channel, QUEUE, 1)
            await client.forward(channel, QUEUE, message, {})
            await message.ack()
            [again] = await client.look(channel, QUEUE, 1)
            await again.ack()
        return again.headers

    return asyncio.run(copied())


def test_a_header_that_is_not_utf8_is_copied_byte_for_byte(client: Any, server: Rabbitmq) -> None:
    text = b"\xff\x00\xfe"
    table = b"\x04blobS" + len(text).to_bytes(4, "big") + text

    assert headers_of_a_copy(client, server, table) == {"blob": text}


def test_a_number_of_64_bits_is_copied_without_loss(client: Any, server: Rabbitmq) -> None:
    """aio-pika reads such a number, and writes any in 32 bits, or raises."""
    table = b"".join(
        bytes([len(name)]) + name.encode() + b"d" + struct.pack(">d", number)
        for name, number in (("half", 0.5), ("tenth", 0.1), ("huge", 1e300))
    )

    assert headers_of_a_copy(client, server, table) == {
        "half": 0.5,
        "tenth": "0.1",
        "huge": "1e+300",
    }


def test_a_copy_goes_to_its_queue_alone(client: Any) -> None:
    """The server would route each copy by that header, too."""

    async def proof() -> None:
        async with client.connect() as channel:
            for name in (QUEUE, "audit"):
                await client.declare_queue(channel, name, {})
            await client.publish(channel, QUEUE, b"cat.mp4", headers={"CC": ["audit"], "a": 1})
            [message] = await client.look(channel, QUEUE, 1)
            await client.forward(channel, QUEUE, message, {})
            await message.ack()
            [again] = await client.look(channel, QUEUE, 1)
            assert again.headers == {"a": 1}
            assert len(await client.look(channel, "audit", 1)) == 1

    asyncio.run(proof())


def test_a_replier_replies_into_no_queue(client: Any) -> None:
    snippet: Any = load(SNIPPETS / "patterns" / "request_reply" / "on_rabbitmq.py")

    async def probe(video: str) -> str:
        return video

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as channel:
            await snippet.declare(channel)
            await client.declare_queue(channel, "invoices", {})
            replier = asyncio.create_task(snippet.serve("replier", probe))
            for to in ("invoices", ""):
                await client.publish(
                    channel, snippet.REQUESTS, b"cat.mp4", reply_to=to, correlation_id="1"
                )
            async with snippet.requestor() as request:  # it comes behind the others
                assert await request("dog.mp4", PATIENCE) == "dog.mp4"
            assert not await client.look(channel, "invoices")
            replier.cancel()
            await asyncio.wait([replier])

    asyncio.run(proof())


def test_queues_that_are_written_down_outlive_a_kill(client: Any, server: Rabbitmq) -> None:
    """Without it, RabbitMQ 4.0.5 answers no declaration of some of these after the restart."""

    async def use() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as channel:
            for number in range(40):
                await client.declare_queue(channel, f"{QUEUE}.{number}", {})
                await client.publish(channel, f"{QUEUE}.{number}", b"cat.mp4")

    asyncio.run(use())
    server.write_down_queues()
    server.kill()
    server.start()
    asyncio.run(use())


def test_a_declaration_that_is_not_answered_raises(client: Any, server: Rabbitmq) -> None:
    """The client ends it as if somebody had cancelled the caller: a task then ends unseen."""

    async def declare() -> None:
        async with client.connect() as channel:
            connected.set()
            await asyncio.wait_for(swallowing.wait(), PATIENCE)
            await client.declare_queue(channel, QUEUE, {})

    connected, swallowing = asyncio.Event(), asyncio.Event()

    async def proof() -> None:
        async with behind_a_proxy(client, server) as proxy:
            declaring = asyncio.create_task(declare())
            await asyncio.wait_for(connected.wait(), PATIENCE)
            proxy.swallows = True
            swallowing.set()
            with pytest.raises(ConnectionError, match="RabbitMQ is lost"):
                await asyncio.wait_for(declaring, PATIENCE)

    asyncio.run(proof())
