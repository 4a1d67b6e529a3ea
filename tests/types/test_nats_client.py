"""The module that NATS's snippets share: a fault ends with its cause, or is lived through."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Awaitable
from types import ModuleType
from typing import Any

import nats
import pytest

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.nats import Nats
from tests.brokers.server import free_port
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

pytestmark = pytest.mark.broker(Nats.key)

QUEUE = "transcode"
PATIENCE = 90  # seconds
ACCOUNTS = """
authorization { users = [
    { user: "up@loader", password: "p@ss/w:rd" }
    { user: worker, password: w, permissions: {
        publish: ["$JS.API.INFO", "$JS.API.CONSUMER.INFO.>", "$JS.ACK.>"],
        subscribe: ["_INBOX.>"] } }
] }
"""


class Guarded(Nats):
    """A server with accounts: one may do all, one may not fetch."""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(ACCOUNTS)


class TokenOnly(Nats):
    """A server that asks for a token."""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write('authorization { token: "s3/cr@t" }\n')


@pytest.fixture
def client() -> ModuleType:
    load(SNIPPETS / "patterns" / "work_queue" / "on_nats.py")
    return sys.modules["nats_client"]


def use(client: ModuleType, server: Server, who: str = "") -> None:
    client.URL = f"nats://{who}{server.host}:{server.port_number}"  # type: ignore[attr-defined]


async def make(client: ModuleType) -> None:
    async with client.connect() as jetstream:
        await jetstream.add_stream(name=QUEUE, subjects=[QUEUE])
        await jetstream.add_consumer(QUEUE, durable_name="workers")


async def work(client: ModuleType) -> None:
    async with client.connect() as jetstream:
        async for message in client.consume(jetstream, QUEUE, "workers"):
            await message.ack_sync(client.SECONDS)


def test_credentials_are_decoded_and_a_missing_right_is_named(
    client: ModuleType, server: Server
) -> None:
    async def both() -> None:
        async with asyncio.timeout(PATIENCE):
            use(client, guarded, "up%40loader:p%40ss%2Fw%3Ard@")
            await make(client)
            use(client, guarded, "worker:w@")
            with pytest.raises(ConnectionError, match=r"permissions violation.*next\.transcode"):
                await work(client)
            with pytest.raises(ConnectionError, match=r'permissions violation.*"transcode"'):
                async with client.connect() as jetstream:
                    await jetstream.publish(QUEUE, b"cat.mp4")

    with server.another(Guarded) as guarded:
        asyncio.run(both())


def test_an_address_may_hold_a_token(client: ModuleType, server: Server) -> None:
    async def ask() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await jetstream.account_info()

    with server.another(TokenOnly) as locked:
        use(client, locked, "s3%2Fcr%40t@")
        asyncio.run(ask())
        use(client, locked, "s3@")
        with pytest.raises(ConnectionError, match="NATS"):
            asyncio.run(ask())


def test_who_is_sent_away_again_and_again_gives_up(
    client: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the server's refusal came as a lost connection, each time that it tried."""
    used: Any = client

    async def refused(_: Any, **options: Any) -> None:
        while True:
            await options["disconnected_cb"]()
            await asyncio.sleep(0.1)

    async def ask() -> None:
        async with asyncio.timeout(PATIENCE), client.connect():
            pass

    use(client, server)
    monkeypatch.setattr(used, "SECONDS", 1)
    monkeypatch.setattr(used.Connection, "connect", refused)
    with pytest.raises(ConnectionError, match="NATS"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    "form", ["{gone},{there}", " {there} , {gone} ", "{gone},127.0.0.1:{port}"]
)
def test_an_address_may_name_several_servers(client: ModuleType, server: Server, form: str) -> None:
    async def ask() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await jetstream.account_info()

    with server.another(Guarded) as guarded:
        login, port = "up%40loader:p%40ss%2Fw%3Ard@", guarded.port_number
        client.URL = form.format(  # type: ignore[attr-defined]
            gone=f"nats://{login}127.0.0.1:{free_port()}",
            there=f"nats://{login}127.0.0.1:{port}",
            port=port,
        )
        asyncio.run(ask())


def test_a_copy_takes_no_orders_that_were_for_the_first_stream(
    client: ModuleType, server: Server
) -> None:
    """With one of these headers, the server would refuse the copy, each time it is tried."""
    orders = {"Nats-Expected-Stream": QUEUE, "Nats-Expected-Last-Sequence": "0"}
    use(client, server)

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await make(client)
            await jetstream.add_stream(name="dead", subjects=["dead"])
            # With a last sequence, it is refused by a stream that has a message.
            await jetstream.publish("dead", b"another")
            await jetstream.publish(QUEUE, b"cat.mp4", headers={"trace": "17", **orders})
            async for message in client.consume(jetstream, QUEUE, "workers", 1):
                await client.forward(jetstream, "dead", message)
            [_, copy] = [each async for each in client.look(jetstream, "dead")]
            assert copy.headers["trace"] == "17"
            assert not orders.keys() & copy.headers.keys()

    asyncio.run(proof())


async def publish_raw(server: Server, head: bytes) -> None:
    """Publish a message that has headers and no body, as another client may."""
    reader, writer = await asyncio.open_connection(server.host, server.port_number)
    writer.write(b'CONNECT {"headers": true, "verbose": false}\r\n')
    writer.write(b"HPUB %s %d %d\r\n" % (QUEUE.encode(), len(head), len(head)))
    writer.write(head + b"\r\nPING\r\n")
    while await reader.readline() != b"PONG\r\n":
        pass
    writer.close()


def test_a_copy_has_all_headers_of_one_name(client: ModuleType, server: Server) -> None:
    """The client hands out the last one, and makes U+FFFD of what is not UTF-8."""
    use(client, server)
    lines = [b"image: 1", b"trace: 17", b"image: 2", b"image: \xff"]
    text = [line.replace(b"\xff", "\ufffd".encode()) for line in lines]

    async def stored(jetstream: Any, stream: str) -> list[bytes]:
        raw = base64.b64decode((await jetstream.get_msg(stream, subject=stream)).hdrs)
        return [line for line in raw.split(b"\r\n") if line.startswith((b"image", b"trace"))]

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await make(client)
            await jetstream.add_stream(name="dead", subjects=["dead"])
            await publish_raw(server, b"\r\n".join([b"NATS/1.0", *lines, b"", b""]))
            async with await nats.connect(client.URL) as bare:
                workers = await bare.jetstream().pull_subscribe_bind("workers", QUEUE)
                [message] = await workers.fetch(1, timeout=PATIENCE)
                assert message.headers == {"image": "\ufffd", "trace": "17"}
                await message.nak()
            assert await stored(jetstream, QUEUE) == lines  # a retry copies nothing
            async for message in client.consume(jetstream, QUEUE, "workers", 1):
                await client.forward(jetstream, "dead", message)
            assert await stored(jetstream, "dead") == text
            async for letter in client.look(jetstream, "dead"):
                await client.forward(jetstream, QUEUE, letter)
            assert await stored(jetstream, QUEUE) == text

    asyncio.run(proof())


def test_what_is_too_large_with_its_headers_is_not_sent(client: ModuleType, server: Server) -> None:
    """The server would end the connection, and the publisher time out."""
    use(client, server)

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await make(client)
            fits = server_takes = 1024**2
            fits -= len(b"NATS/1.0\r\nwhy: \xc3\xb6\r\n\r\n")
            await jetstream.publish(QUEUE, b"x" * fits, headers={"why": "ö"})
            with pytest.raises(client.TooLargeError, match=f"{server_takes + 1} bytes with"):
                await jetstream.publish(QUEUE, b"x" * (fits + 1), headers={"why": "ö"})
            await jetstream.publish(QUEUE, b"cat.mp4")  # on the same connection
            assert (await jetstream.stream_info(QUEUE)).state.messages == 2

    asyncio.run(proof())


def test_a_header_whose_name_the_client_refuses_to_write_is_copied(
    client: ModuleType, server: Server
) -> None:
    use(client, server)
    head = b"NATS/1.0\r\nX-(a/b): 17\r\nX-100%: 18\r\n\r\n"

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await make(client)
            await jetstream.add_stream(name="dead", subjects=["dead"])
            await publish_raw(server, head)
            async for message in client.consume(jetstream, QUEUE, "workers", 1):
                await client.forward(jetstream, "dead", message)
            [copy] = [each async for each in client.look(jetstream, "dead")]
            assert copy.headers["X-%28a%2Fb%29"] == "17"
            assert copy.headers["X-100%"] == "18"

    asyncio.run(proof())


def test_a_message_without_an_id_has_a_copy_although_its_stream_was_made_again(
    client: ModuleType, server: Server
) -> None:
    """It has the number of one before, for which the stream of copies would take it."""
    use(client, server)

    async def proof() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await jetstream.add_stream(name="dead", subjects=["dead"])
            for body in (b"cat.mp4", b"dog.mp4"):
                await make(client)
                await jetstream.publish(QUEUE, body)
                async for message in client.consume(jetstream, QUEUE, "workers", 1):
                    await client.forward(jetstream, "dead", message)
                await jetstream.delete_stream(QUEUE)
            found = [each.data async for each in client.look(jetstream, "dead")]
            assert found == [b"cat.mp4", b"dog.mp4"]

    asyncio.run(proof())


def test_a_server_that_stays_away_ends_its_user_with_the_cause(
    client: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AWAY", 3)
    use(client, server)

    async def wait() -> None:
        async with asyncio.timeout(PATIENCE), client.connect():
            server.kill()
            await asyncio.Event().wait()

    with pytest.raises(ConnectionError, match="Connect call failed"):
        asyncio.run(wait())


async def sees_its_end(jetstream: Any) -> None:
    """Return when the client knows that its connection is lost."""

    async def is_lost() -> bool:
        return not jetstream._nc.is_connected

    await comes(is_lost)


def test_a_kept_connection_serves_again_after_a_restart(client: ModuleType, server: Server) -> None:
    use(client, server)

    async def publish() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await jetstream.add_stream(name=QUEUE, subjects=[QUEUE])
            server.kill()
            await sees_its_end(jetstream)
            with pytest.raises(client.OutboundBufferLimitError, match="nothing was sent"):
                await jetstream.publish(QUEUE, b"cat.mp4")
            await asyncio.to_thread(server.start)
            while True:
                try:
                    await jetstream.publish(QUEUE, b"cat.mp4")
                    break
                except client.OutboundBufferLimitError:
                    await asyncio.sleep(0.1)

    asyncio.run(publish())


def test_a_consumer_that_is_gone_ends_its_worker(client: ModuleType, server: Server) -> None:
    use(client, server)

    async def both() -> None:
        await make(client)
        async with asyncio.timeout(PATIENCE):
            worker = asyncio.create_task(work(client))
            async with client.connect() as jetstream:
                while True:
                    if (await jetstream.consumer_info(QUEUE, "workers")).num_waiting:
                        break
                    await asyncio.sleep(0.1)
                await jetstream.delete_consumer(QUEUE, "workers")
            with pytest.raises(ConnectionError, match="no such stream or consumer"):
                await worker

    asyncio.run(both())


async def cancelled_with_its_answer(connection: Any, call: Awaitable[object]) -> asyncio.Task[Any]:
    """Return a task that is cancelled in the moment in which its answer comes.

    Up to Python 3.11, wait_for() returns the answer then, and forgets that it was cancelled.
    """
    read = connection._process_msg

    async def and_cancel(*message: Any) -> None:
        await read(*message)
        await asyncio.sleep(0)  # the subscription's task hands it on
        task.cancel()

    async def do() -> object:
        return await call

    task = asyncio.create_task(do())
    connection._process_msg = and_cancel
    await asyncio.wait([task])
    connection._process_msg = read
    return task


def test_who_is_cancelled_ends_although_an_answer_comes(client: ModuleType, server: Server) -> None:
    use(client, server)

    async def both() -> None:
        await make(client)
        async with asyncio.timeout(PATIENCE), client.connect_core() as connection:
            jetstream = connection.jetstream()
            await jetstream.publish(QUEUE, b"cat.mp4")
            publishing = jetstream.publish(QUEUE, b"dog.mp4")
            assert (await cancelled_with_its_answer(connection, publishing)).cancelled()
            source = await jetstream.pull_subscribe_bind("workers", QUEUE)
            fetching = anext(client.fetch(source))
            assert (await cancelled_with_its_answer(connection, fetching)).cancelled()

    asyncio.run(both())


@pytest.fixture
def window() -> ModuleType:
    return load(SNIPPETS / "best_practices" / "service_window" / "on_nats.py")


def test_a_window_whose_confirms_stay_away_ends_and_leaves_nothing_behind(
    client: ModuleType, window: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(client, server)
    monkeypatch.setattr(window, "SECONDS", 1)

    async def publish() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await window.declare(jetstream)
            server.freeze()
            try:
                with pytest.raises(TimeoutError, match="no confirm after 1 s"):
                    await window.submit(jetstream, ["cat.mp4"] * 100)
                await asyncio.sleep(0)
                assert jetstream.publish_async_pending() == 0
            finally:
                server.thaw()

    asyncio.run(publish())


def test_a_window_is_served_again_however_often_it_was_refused(
    client: ModuleType, window: ModuleType, server: Server
) -> None:
    use(client, server)

    async def publish() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await window.declare(jetstream)
            server.kill()
            await sees_its_end(jetstream)
            for _ in range(5000):  # the client's own window has 4000 places
                with pytest.raises(client.NotConnectedError, match="publish it again"):
                    await window.submit(jetstream, ["cat.mp4"])
            await asyncio.to_thread(server.start)
            while True:
                try:
                    await window.submit(jetstream, ["cat.mp4"])
                    break
                except client.NotConnectedError:
                    await asyncio.sleep(0.1)

    asyncio.run(publish())
