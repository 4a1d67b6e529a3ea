"""What NATS and nats-py say when something is wrong, and what has to be done to be told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StreamConfig,
)

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.nats import Nats
from tests.brokers.server import free_port, wait_until
from tests.errors.conftest import Hearing
from tests.errors.raised import error_of

pytestmark = pytest.mark.broker(Nats.key)

Heard = list[Exception]


@asynccontextmanager
async def connected(server: Server, **options: Any) -> AsyncIterator[tuple[Client, Heard]]:
    """Connect, and write down what the client tells to `error_cb` alone."""
    heard: Heard = []

    async def hear(error: Exception) -> None:
        heard.append(error)

    client = await nats.connect(server.address, **{"error_cb": hear, **options})
    try:
        yield client, heard
    finally:
        await client.close()


async def told(heard: Heard, times: int = 1) -> None:
    """Wait until the client has told its callback of an error."""

    async def enough() -> bool:
        return len(heard) >= times

    await comes(enough)


def refusal(
    server: Server, ask: Callable[[JetStreamContext], Awaitable[Any]], **stream: Any
) -> Exception:
    """Return the error of a request to a server that has one stream, `videos`."""

    async def asking() -> Exception:
        async with connected(server) as (client, _):
            context = client.jetstream()
            config = {"name": "videos", "subjects": ["videos.>"], **stream}
            await context.add_stream(StreamConfig(**config))
            try:
                return await error_of(ask(context))
            finally:
                await context.delete_stream("videos")

    return asyncio.run(asking())


def refusal_of_client(server: Server, ask: Callable[[Client], Awaitable[Any]]) -> Exception:
    """Return the error of a request to a server on which there is nothing."""

    async def asking() -> Exception:
        async with connected(server) as (client, _):
            return await error_of(ask(client))

    return asyncio.run(asking())


# Rights, and the connection.


class Guarded(Nats):
    """A server with an account that may do nothing but publish views, and one connection of it."""

    settings = """
max_connections: 2
authorization { users = [
    { user: uploader, password: u, permissions: { publish: "views", subscribe: "views" } }
] }
"""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(self.settings)

    def own_address(self) -> str:
        return f"nats://uploader:u@127.0.0.1:{self.port_number}"


def test_permissions_violation(server: Server, said: Hearing) -> None:
    async def asking(own: Server) -> Heard:
        async with connected(own) as (client, heard):
            await client.publish("videos.cat", b"")
            await client.subscribe("videos.*")
            await told(heard, times=2)
        return heard

    with server.another(Guarded) as own:
        for error in asyncio.run(asking(own)):
            said(error)


def test_authorization_violation(server: Server, said: Hearing) -> None:
    async def asking(own: Server) -> Exception:
        address = own.address.replace(":u@", ":wrong@")
        return await error_of(nats.connect(address, allow_reconnect=False))

    with server.another(Guarded) as own:
        said(asyncio.run(asking(own)))


def test_maximum_connections_exceeded(server: Server, said: Hearing) -> None:
    """The client may see its connection closed before it has read why; the log always says it."""

    async def asking(own: Server) -> None:
        async with connected(own), connected(own):
            await error_of(nats.connect(own.address, allow_reconnect=False))

    def lines() -> list[str]:
        return [line for line in own.tail().splitlines() if "maximum connections" in line]

    with server.another(Guarded) as own:
        asyncio.run(asking(own))
        wait_until(lambda: bool(lines()), "the line in the log")
        mask = {r"^.*(?=\[ERR)": "", r":\d+ .*cid:\d+": ":40000 - cid:7"}
        said(lines()[0], client="log", mask=mask)


def test_no_servers_available(server: Server, said: Hearing) -> None:
    heard: Heard = []

    async def hear(error: Exception) -> None:
        heard.append(error)

    port = free_port()
    address = server.address.replace(str(server.port_number), str(port))
    attempt = nats.connect(address, error_cb=hear, max_reconnect_attempts=1, reconnect_time_wait=0)
    said(asyncio.run(error_of(attempt)))
    said(heard[0], mask={str(port): "4222"})


def test_connection_closed(server: Server, said: Hearing) -> None:
    async def asking() -> Exception:
        client = await nats.connect(server.address)
        await client.close()
        return await error_of(client.publish("views", b""))

    said(asyncio.run(asking()))


def test_connection_draining(server: Server, said: Hearing) -> None:
    async def asking() -> Exception:
        client = await nats.connect(server.address)
        begun = asyncio.Event()
        end = asyncio.Event()

        async def hold(_: object) -> None:
            begun.set()
            await end.wait()

        await client.subscribe("views", cb=hold)
        await client.publish("views", b"")
        await begun.wait()
        draining = asyncio.create_task(client.drain())

        async def refused() -> bool:
            return client.is_draining

        await comes(refused)
        error = await error_of(client.subscribe("views"))
        end.set()
        await draining
        return error

    said(asyncio.run(asking()))


def test_stale_connection(server: Server, said: Hearing) -> None:
    async def asking(own: Nats) -> Exception | None:
        async with connected(own, ping_interval=0.1, allow_reconnect=False) as (client, _):
            await asyncio.to_thread(own.freeze)

            async def closed() -> bool:
                return client.is_closed

            await comes(closed)
            return client.last_error

    with server.another(Nats) as own:
        error = asyncio.run(asking(own))
        assert error
        said(error)


def test_unexpected_eof(server: Server, said: Hearing) -> None:
    async def asking(own: Nats) -> Exception:
        async with connected(own, allow_reconnect=False) as (_, heard):
            await asyncio.to_thread(own.kill)
            await told(heard)
        return heard[0]

    with server.another(Nats) as own:
        said(asyncio.run(asking(own)))


def test_outbound_buffer_limit_exceeded(server: Server, said: Hearing) -> None:
    async def asking(own: Nats) -> Exception:
        async with connected(own, pending_size=0) as (client, _):
            await asyncio.to_thread(own.kill)

            async def lost() -> bool:
                return client.is_reconnecting

            await comes(lost)
            return await error_of(client.publish("views", b"cat.mp4"))

    with server.another(Nats) as own:
        said(asyncio.run(asking(own)))


# Core NATS.


def test_no_responders(server: Server, said: Hearing) -> None:
    said(refusal_of_client(server, lambda client: client.request("thumbnails", b"cat.mp4")))


def test_timeout(server: Server, said: Hearing) -> None:
    async def asking(client: Client) -> None:
        await client.subscribe("thumbnails")  # somebody is there, and does not answer
        await client.request("thumbnails", b"cat.mp4", timeout=0.1)

    said(refusal_of_client(server, asking))


def test_maximum_payload_exceeded(server: Server, said: Hearing) -> None:
    said(refusal_of_client(server, lambda client: client.publish("videos", bytes(1_048_577))))


def test_invalid_subject(server: Server, said: Hearing) -> None:
    said(refusal_of_client(server, lambda client: client.publish("videos cat", b"")))


def test_slow_consumer(server: Server, said: Hearing) -> None:
    async def asking() -> Exception:
        async with connected(server) as (client, heard):
            await client.subscribe("views", pending_msgs_limit=1)
            for _ in range(2):
                await client.publish("views", b"")
            await told(heard)
        return heard[0]

    said(asyncio.run(asking()), mask={"(?<=sub: ).+": "…"})


# JetStream: what is not there, or is there already.


def test_stream_not_found(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda jetstream: jetstream.stream_info("films")))


def test_consumer_not_found(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda jetstream: jetstream.consumer_info("videos", "workers")))


def test_no_response_from_stream(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda jetstream: jetstream.publish("films.cat", b"")))


def test_no_stream_matches_subject(server: Server, said: Hearing) -> None:
    said(refusal(server, lambda jetstream: jetstream.pull_subscribe("films.cat", "workers")))


def test_stream_name_already_in_use(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(name="videos", subjects=["videos.cat"])

    said(refusal(server, ask))


def test_subjects_overlap(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(name="cats", subjects=["videos.cat"])

    said(refusal(server, ask))


def test_deliver_policy_can_not_be_updated(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for policy in (DeliverPolicy.ALL, DeliverPolicy.NEW):
            config = ConsumerConfig(durable_name="workers", deliver_policy=policy)
            await jetstream.add_consumer("videos", config)

    said(refusal(server, ask))


def test_no_responders_to_a_fetch(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        source = await jetstream.pull_subscribe("videos.cat", "workers")
        await jetstream.delete_consumer("videos", "workers")
        await source.fetch()

    said(refusal(server, ask))


class Core(Nats):
    """A server without JetStream, as it is when nobody asks for it."""

    def prepare(self) -> None:
        super().prepare()
        lines = self.configuration.read_text().splitlines(keepends=True)
        self.configuration.write_text("".join(one for one in lines if "jetstream" not in one))


class Small(Nats):
    """A server on which JetStream has 1 MB; one account has no JetStream, and one a stream."""

    settings = """
accounts {
    films: { jetstream: { max_streams: 1 }, users: [{ user: films, password: f }] }
    other: { users: [{ user: other, password: o }] }
}
"""

    def prepare(self) -> None:
        super().prepare()
        text = self.configuration.read_text().replace("jetstream {", "jetstream { max_file: 1MB,")
        self.configuration.write_text(text + self.settings)

    def own_address(self) -> str:
        return f"nats://films:f@127.0.0.1:{self.port_number}"


class Without(Small):
    """The same server for the account that has no JetStream."""

    def own_address(self) -> str:
        return f"nats://other:o@127.0.0.1:{self.port_number}"


def test_jetstream_not_enabled(server: Server, said: Hearing) -> None:
    """The first server has no JetStream; on the second, another account has it."""
    for kind in (Core, Without):
        with server.another(kind) as own:
            said(refusal_of_client(own, lambda client: client.jetstream().account_info()))


# JetStream: a limit.


def test_maximum_messages_exceeded(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for _ in range(2):
            await jetstream.publish("videos.cat", b"")

    said(refusal(server, ask, max_msgs=1, discard=DiscardPolicy.NEW))


def test_maximum_bytes_exceeded(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        await jetstream.publish("videos.cat", bytes(2_000))

    said(refusal(server, ask, max_bytes=1_000, discard=DiscardPolicy.NEW))


def test_maximum_messages_per_subject_exceeded(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for _ in range(2):
            await jetstream.publish("videos.cat", b"")

    limits = {"max_msgs_per_subject": 1, "discard_new_per_subject": True}
    said(refusal(server, ask, discard=DiscardPolicy.NEW, **limits))


def test_message_size_exceeds_maximum_allowed(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        await jetstream.publish("videos.cat", bytes(2_000))

    said(refusal(server, ask, max_msg_size=1_000))


def test_maximum_consumers_limit_reached(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for name in ("workers", "audit"):
            await jetstream.add_consumer("videos", durable_name=name)

    said(refusal(server, ask, max_consumers=1))


def test_maximum_number_of_streams_reached(server: Server, said: Hearing) -> None:
    async def ask(client: Client) -> None:
        for name in ("videos", "films"):
            await client.jetstream().add_stream(name=name)

    with server.another(Small) as own:
        said(refusal_of_client(own, ask))


def test_insufficient_storage_resources(server: Server, said: Hearing) -> None:
    async def ask(client: Client) -> None:
        await client.jetstream().add_stream(name="videos", max_bytes=2_000_000)

    with server.another(Small) as own:
        said(refusal_of_client(own, ask))


def test_wrong_last_sequence(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        expected = {"Nats-Expected-Last-Sequence": "7"}
        await jetstream.publish("videos.cat", b"", headers=expected)

    said(refusal(server, ask))


# JetStream: consumers.


def test_consumer_subject_filters_cannot_overlap(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        filters = ["videos.*", "videos.cat"]
        await jetstream.add_consumer("videos", durable_name="workers", filter_subjects=filters)

    said(refusal(server, ask))


def test_consumers_on_workqueue_stream(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for name in ("workers", "audit"):
            await jetstream.add_consumer("videos", durable_name=name)

    said(refusal(server, ask, retention=RetentionPolicy.WORK_QUEUE))


def test_workqueue_requires_explicit_ack(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        config = ConsumerConfig(durable_name="workers", ack_policy=AckPolicy.NONE)
        await jetstream.add_consumer("videos", config)

    said(refusal(server, ask, retention=RetentionPolicy.WORK_QUEUE))


def test_consumer_is_already_bound(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        for _ in range(2):
            await jetstream.subscribe("videos.cat", durable="workers")

    said(refusal(server, ask))


def test_message_was_already_acknowledged(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        source = await jetstream.pull_subscribe("videos.cat", "workers")
        await jetstream.publish("videos.cat", b"cat.mp4")
        [message] = await source.fetch()
        await message.ack()
        await message.ack()

    said(refusal(server, ask), mask={"(?<=acknowledged: ).+": "…"})


def test_key_wrong_last_sequence(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        bucket = await jetstream.create_key_value(bucket="state")
        await bucket.put("cat", b"uploaded")
        await bucket.update("cat", b"done", last=7)

    said(refusal(server, ask))


def test_key_not_found(server: Server, said: Hearing) -> None:
    async def ask(jetstream: JetStreamContext) -> None:
        bucket = await jetstream.create_key_value(bucket="empty")
        await bucket.get("cat")

    said(refusal(server, ask))
