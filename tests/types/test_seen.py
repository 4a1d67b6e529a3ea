"""What the pages on types call *seen*, seen again: small facts that no snippet prints."""

from __future__ import annotations

import asyncio
import inspect

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCameError
from nats.js.errors import ServiceUnavailableError

from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.rabbitmq import Rabbitmq


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
            # Long enough to be seen waiting, and to lose its consumer meanwhile.
            waiting = asyncio.create_task(workers.fetch(1, timeout=5))

            async def has_asked() -> bool:
                info = await stream.consumer_info("videos", "workers")
                return bool(info.num_waiting == 1)

            await comes(has_asked)
            await stream.delete_consumer("videos", "workers")
            with pytest.raises(NothingCameError):
                await waiting
            with pytest.raises(ServiceUnavailableError):
                await workers.fetch(1, timeout=SECONDS)

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


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize(("kind", "held"), [("classic", 2100), ("quorum", 2000)])
def test_a_consumer_without_a_limit_is_given_the_whole_queue_or_2000(
    kind: str, held: int, server: Server
) -> None:
    async def proof() -> int:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(
                "transcode", durable=True, arguments={"x-queue-type": kind}
            )
            publish = channel.default_exchange.publish
            await asyncio.gather(
                *(publish(aio_pika.Message(b"cat.mp4"), queue.name) for _ in range(2100))
            )
            given = 0

            async def hold(_: AbstractIncomingMessage) -> None:
                nonlocal given
                given += 1

            async def has_all() -> bool:
                return given == held

            await queue.consume(hold)
            await comes(has_all)
            left = await (await connection.channel()).declare_queue("transcode", passive=True)
            assert left.declaration_result.message_count == 2100 - held
            return given

    assert asyncio.run(proof()) == held


@pytest.mark.broker("rabbitmq")
def test_an_iterator_waits_on_when_its_queue_is_deleted(server: Server) -> None:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("transcode", durable=True)
            cancelled = asyncio.Event()
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
            async with queue.iterator() as messages:
                waiting = asyncio.ensure_future(anext(messages))
                await (await connection.channel()).queue_delete("transcode")
                await asyncio.wait_for(cancelled.wait(), SECONDS)
                done, _ = await asyncio.wait([waiting], timeout=0.5)
                assert not done
                waiting.cancel()

    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_a_task_that_takes_too_long_goes_to_another_and_its_worker_hears_of_it_at_the_end(
    server: Server,
) -> None:
    assert isinstance(server, Rabbitmq)

    def look_every(milliseconds: int) -> None:
        setting = f"application:set_env(rabbit, channel_tick_interval, {milliseconds})."
        server.control("eval", setting)

    async def proof() -> None:
        async with (
            await aio_pika.connect(server.address) as slow,
            await aio_pika.connect(server.address) as other,
        ):
            channel = await slow.channel()
            reasons: list[str] = []
            channel.close_callbacks.add(lambda _, reason: reasons.append(str(reason)))
            cancelled = asyncio.Event()
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
            await channel.set_qos(prefetch_count=1)
            queue = await channel.declare_queue(
                "transcode",
                durable=True,
                arguments={"x-queue-type": "quorum", "x-consumer-timeout": 1000},
            )
            await channel.default_exchange.publish(aio_pika.Message(b"cat.mp4"), queue.name)
            taken: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(taken.put)
            first = await asyncio.wait_for(taken.get(), SECONDS)
            again = await (await other.channel()).get_queue("transcode")
            await again.consume(taken.put, no_ack=True)  # or its time would run as well
            second = await asyncio.wait_for(taken.get(), SECONDS)
            assert second.body == first.body
            if server.at_least(4, 3):  # it has lost its subscription only, and nothing has failed
                assert "x-delivery-count" not in second.headers
                await asyncio.wait_for(cancelled.wait(), SECONDS)
                assert not channel.is_closed
                return
            assert second.headers["x-delivery-count"] == 1
            await asyncio.wait_for(asyncio.shield(channel.closed()), SECONDS)
            assert "PRECONDITION_FAILED - delivery acknowledgement on channel 1" in reasons[0]
            with pytest.raises(ChannelInvalidStateError):
                await first.ack()

    look_every(500)
    try:
        asyncio.run(proof())
    finally:
        look_every(60_000)


def test_aiokafka_has_defaults_of_its_own() -> None:
    producer = inspect.signature(AIOKafkaProducer).parameters
    consumer = inspect.signature(AIOKafkaConsumer).parameters
    assert "defaults to ``acks=1``" in (AIOKafkaProducer.__doc__ or "")
    assert producer["enable_idempotence"].default is False
    assert consumer["session_timeout_ms"].default == 10_000
    assert consumer["max_poll_records"].default is None
    assert [one.name for one in consumer["partition_assignment_strategy"].default] == ["roundrobin"]
