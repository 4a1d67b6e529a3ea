"""The module that NATS's snippets share: a fault ends with its cause, or is lived through."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from tests.brokers import Server
from tests.brokers.nats import Nats
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

pytestmark = pytest.mark.broker(Nats.key)

QUEUE = "transcode"
PATIENCE = 40  # seconds
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


@pytest.fixture
def client() -> ModuleType:
    load(SNIPPETS / "patterns" / "work_queue" / "on_nats.py")
    return sys.modules["nats_client"]


def use(client: ModuleType, server: Server, who: str = "") -> None:
    client.URL = urlsplit(f"nats://{who}{server.host}:{server.port_number}")  # type: ignore[attr-defined]


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


def test_a_kept_connection_serves_again_after_a_restart(client: ModuleType, server: Server) -> None:
    use(client, server)

    async def publish() -> None:
        async with asyncio.timeout(PATIENCE), client.connect() as jetstream:
            await jetstream.add_stream(name=QUEUE, subjects=[QUEUE])
            server.kill()
            await asyncio.sleep(0.1)  # the client sees it
            with pytest.raises(client.OutboundBufferLimitError):
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
