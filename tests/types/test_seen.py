"""What the pages on types call *seen*, seen again: small facts that no snippet prints."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aio_pika
import nats
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCameError
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from tests.brokers import Server

SECONDS = 20


async def comes(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def jetstream(
    server: Server, heard: list[Exception] | None = None
) -> AsyncIterator[JetStreamContext]:
    """Connect to a server on which there is one stream, `videos`; `heard` gets its errors."""

    async def hear(error: Exception) -> None:
        if heard is not None:
            heard.append(error)

    connection = await nats.connect(server.address, error_cb=hear)
    async with connection:
        stream = connection.jetstream()
        await stream.add_stream(name="videos", subjects=["videos"])
        yield stream


@pytest.mark.broker("nats")
def test_a_push_subscription_acknowledges_when_its_handler_returns(server: Server) -> None:
    async def proof() -> None:
        heard: list[Exception] = []
        async with jetstream(server, heard) as stream:
            await stream.publish("videos", b"cat.mp4")

            async def returns(_: Msg) -> None:
                pass

            async def fails(_: Msg) -> None:
                raise RuntimeError

            await stream.subscribe("videos", durable="returns", cb=returns)
            await stream.subscribe("videos", durable="fails", cb=fails)

            async def acknowledged() -> bool:
                info = await stream.consumer_info("videos", "returns")
                assert info.ack_floor
                return bool(info.ack_floor.stream_seq == 1)

            async def has_failed() -> bool:
                return bool(heard)

            await comes(acknowledged)
            await comes(has_failed)
            assert (await stream.consumer_info("videos", "fails")).num_ack_pending == 1

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_without_a_durable_name_the_server_forgets_the_consumer(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            subscription = await stream.subscribe("videos")
            config = (await subscription.consumer_info()).config
            assert config.durable_name is None
            assert config.inactive_threshold == 5

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_a_deleted_consumer_looks_like_an_empty_one_at_first(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            await stream.add_consumer("videos", durable_name="workers")
            workers = await stream.pull_subscribe_bind("workers", "videos")
            waiting = asyncio.create_task(workers.fetch(1, timeout=1))

            async def has_asked() -> bool:
                info = await stream.consumer_info("videos", "workers")
                return bool(info.num_waiting == 1)

            await comes(has_asked)
            await stream.delete_consumer("videos", "workers")
            with pytest.raises(NothingCameError):
                await waiting
            with pytest.raises(ServiceUnavailableError):
                await workers.fetch(1, timeout=1)

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_a_message_id_is_stored_once(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            header = {"Nats-Msg-Id": "cat-uploaded"}
            first = await stream.publish("videos", b"cat.mp4", headers=header)
            second = await stream.publish("videos", b"cat.mp4", headers=header)
            assert not first.duplicate
            assert second.duplicate
            assert (await stream.stream_info("videos")).state.messages == 1

    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_a_crash_counts_against_every_message_that_was_held(server: Server) -> None:
    async def proof() -> None:
        crashing = await aio_pika.connect(server.address)
        channel = await crashing.channel()
        await channel.set_qos(prefetch_count=3)
        queue = await channel.declare_queue(
            "transcode", durable=True, arguments={"x-queue-type": "quorum"}
        )
        for name in (b"poison.mp4", b"cat.mp4", b"dog.mp4"):
            await channel.default_exchange.publish(aio_pika.Message(name), routing_key=queue.name)
        held: list[AbstractIncomingMessage] = []
        arrived = asyncio.Event()

        async def hold(message: AbstractIncomingMessage) -> None:
            held.append(message)
            if len(held) == 3:
                arrived.set()

        await queue.consume(hold)
        async with asyncio.timeout(SECONDS):
            await arrived.wait()
        await crashing.close()  # of the three, it had begun the first

        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=3)
            queue = await channel.get_queue("transcode")
            counts = {}
            async with asyncio.timeout(SECONDS), queue.iterator() as messages:
                async for message in messages:
                    counts[message.body] = message.headers["x-delivery-count"]
                    if len(counts) == 3:
                        break
        assert counts == {b"poison.mp4": 1, b"cat.mp4": 1, b"dog.mp4": 1}

    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_who_acknowledges_on_a_closed_channel_hears_of_it_then(server: Server) -> None:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("transcode", durable=True)
            await channel.default_exchange.publish(
                aio_pika.Message(b"cat.mp4"), routing_key=queue.name
            )
            message = await queue.get()
            with pytest.raises(AMQPError):
                await channel.declare_queue("transcode", durable=False)
            with pytest.raises(ChannelInvalidStateError):
                await message.ack()

    asyncio.run(proof())


def test_aiokafka_has_defaults_of_its_own() -> None:
    producer = inspect.signature(AIOKafkaProducer).parameters
    consumer = inspect.signature(AIOKafkaConsumer).parameters
    assert "defaults to ``acks=1``" in (AIOKafkaProducer.__doc__ or "")
    assert producer["enable_idempotence"].default is False
    assert consumer["session_timeout_ms"].default == 10_000
    assert consumer["max_poll_records"].default is None
    assert [one.name for one in consumer["partition_assignment_strategy"].default] == ["roundrobin"]
