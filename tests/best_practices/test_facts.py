"""What the pages on best practices say of single brokers, each fact on its server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import nats
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import NewTopic
from aiormq.exceptions import (
    ChannelAccessRefused,
    ConnectionNotImplemented,
    ProbableAuthenticationError,
)
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType
from nats.js.errors import APIError
from redis import Redis as RedisClient
from redis.exceptions import AuthenticationError

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.kafka import ask
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


def on_rabbitmq(
    server: Server, work: Callable[[aio_pika.abc.AbstractConnection], Awaitable[Any]]
) -> Any:
    async def run() -> Any:
        async with await aio_pika.connect(server.address) as connection:
            return await work(connection)

    return asyncio.run(run())


async def publish(
    connection: aio_pika.abc.AbstractConnection, exchange: str, key: str, **more: Any
) -> None:
    channel = await connection.channel(on_return_raises=True)
    place = await channel.get_exchange(exchange) if exchange else channel.default_exchange
    await place.publish(aio_pika.Message(b"cat.mp4", **more), key)


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize("write", ["^videos$", "^amq.default$"], ids=["exchange", "default"])
def test_rabbitmq_right_to_write_to_the_default_exchange_reaches_every_queue(
    write: str, server: Server
) -> None:
    assert isinstance(server, Rabbitmq)

    async def prepare(connection: aio_pika.abc.AbstractConnection) -> None:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("videos", durable=True)
        queue = await channel.declare_queue("transcode", durable=True, arguments=QUORUM)
        await queue.bind(exchange, "transcode")
        await channel.declare_queue("invoices", durable=True, arguments=QUORUM)

    on_rabbitmq(server, prepare)
    server.ask("users/uploader", "PUT", {"password": "secret", "tags": ""})
    rights = {"configure": "^$", "write": write, "read": "^$"}
    server.ask("permissions/%2F/uploader", "PUT", rights)
    address = server.address.replace("guest:guest", "uploader:secret")

    async def attempt(exchange: str, key: str) -> bool:
        async with await aio_pika.connect(address) as connection:
            try:
                await publish(connection, exchange, key)
            except ChannelAccessRefused:
                return False
            return True

    try:
        assert asyncio.run(attempt("", "invoices")) == (write == "^amq.default$")
        if write == "^videos$":
            assert asyncio.run(attempt("videos", "transcode"))
    finally:
        server.ask("users/uploader", "DELETE")


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_tells_the_age_of_the_first_message_of_a_classic_queue_only(
    server: Server,
) -> None:
    assert isinstance(server, Rabbitmq)

    async def fill(connection: aio_pika.abc.AbstractConnection) -> None:
        channel = await connection.channel()
        for kind in ("classic", "quorum"):
            arguments: dict[str, Any] = {"x-queue-type": kind}
            await channel.declare_queue(kind, durable=True, arguments=arguments)
            await publish(connection, "", kind, timestamp=time.time(), delivery_mode=2)

    on_rabbitmq(server, fill)

    def said(kind: str, what: str) -> Any:
        return server.ask(f"queues/%2F/{kind}").get(what)

    wait_until(lambda: said("quorum", "messages_ready") == 1, "the queue's numbers")
    wait_until(lambda: bool(said("classic", "head_message_timestamp")), "the age")
    assert not said("quorum", "head_message_timestamp")


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_has_no_conditions_for_deleting_a_quorum_queue(server: Server) -> None:
    async def delete(connection: aio_pika.abc.AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.declare_queue("transcode", durable=True, arguments=QUORUM)
        with pytest.raises(ConnectionNotImplemented):
            await channel.queue_delete("transcode", if_empty=True)

    on_rabbitmq(server, delete)


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_alarm_blocks_publishers_and_lets_consumers_go_on(server: Server) -> None:
    assert isinstance(server, Rabbitmq)

    def watermark(part: str) -> None:
        server.control("set_vm_memory_high_watermark", part)

    async def prepare(connection: aio_pika.abc.AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.declare_queue("transcode", durable=True, arguments=QUORUM)
        await publish(connection, "", "transcode")

    async def blocked(connection: aio_pika.abc.AbstractConnection) -> None:
        waiting = asyncio.create_task(publish(connection, "", "transcode"))
        async with await aio_pika.connect(server.address) as consumer:
            channel = await consumer.channel()
            queue = await channel.get_queue("transcode")
            message = await queue.get(timeout=60)
            assert message
            await message.ack()
        assert not waiting.done()
        await asyncio.to_thread(watermark, "0.6")
        await asyncio.wait_for(waiting, 60)

    on_rabbitmq(server, prepare)
    watermark("0.001")
    try:
        on_rabbitmq(server, blocked)
    finally:
        watermark("0.6")


@pytest.mark.broker("nats")
@pytest.mark.parametrize("discard", [DiscardPolicy.OLD, DiscardPolicy.NEW], ids=["old", "new"])
def test_nats_full_stream_drops_the_oldest_or_refuses_the_new(
    discard: DiscardPolicy, server: Server
) -> None:
    async def run() -> None:
        async with await nats.connect(server.address) as connection:
            jetstream = connection.jetstream()
            await jetstream.add_stream(
                name="uploads", subjects=["uploads"], max_msgs=2, discard=discard
            )
            for video in (b"cat.mp4", b"dog.mp4"):
                await jetstream.publish("uploads", video)
            if discard == DiscardPolicy.NEW:
                with pytest.raises(APIError, match="maximum messages exceeded"):
                    await jetstream.publish("uploads", b"owl.mp4")
            else:
                await jetstream.publish("uploads", b"owl.mp4")  # confirmed
            state = (await jetstream.stream_info("uploads")).state
            assert (state.first_seq, state.messages) == (
                (1, 2) if discard == DiscardPolicy.NEW else (2, 2)
            )

    asyncio.run(run())


@pytest.mark.broker("nats")
def test_nats_refuses_another_storage_and_another_retention(server: Server) -> None:
    async def run() -> None:
        async with await nats.connect(server.address) as connection:
            jetstream = connection.jetstream()
            made: Any = {"name": "uploads", "subjects": ["uploads"]}
            await jetstream.add_stream(**made)
            for other in (
                {"storage": StorageType.MEMORY},
                {"retention": RetentionPolicy.WORK_QUEUE},
            ):
                with pytest.raises(APIError) as refused:
                    await jetstream.update_stream(**made, **other)
                assert refused.value.err_code == 10052
            await jetstream.update_stream(**made, max_age=3600)

    asyncio.run(run())


@pytest.mark.broker("redis")
def test_redis_connection_outlives_a_change_of_its_password(server: Server) -> None:
    with RedisClient.from_url(server.address) as admin:
        admin.acl_setuser("uploader", enabled=True, passwords=["+old"], commands=["+ping"])
        try:
            with RedisClient.from_url(server.address, username="uploader", password="old") as open_:
                assert open_.ping()
                # Two passwords are valid at a time, then the old one is taken away.
                admin.acl_setuser("uploader", passwords=["+new", "-old"])
                assert open_.ping()
            with (
                pytest.raises(AuthenticationError),
                RedisClient.from_url(server.address, username="uploader", password="old") as late,
            ):
                late.ping()
        finally:
            admin.acl_deluser("uploader")


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_connection_outlives_a_change_of_its_password(server: Server) -> None:
    assert isinstance(server, Rabbitmq)
    server.ask("users/uploader", "PUT", {"password": "old", "tags": ""})
    server.ask("permissions/%2F/uploader", "PUT", {"configure": "", "write": ".*", "read": ".*"})
    address = server.address.replace("guest:guest", "uploader:old")

    async def run() -> None:
        async with await aio_pika.connect(server.address) as admin:
            channel = await admin.channel()
            await channel.declare_queue("transcode", durable=True, arguments=QUORUM)
        async with await aio_pika.connect(address) as connection:
            change = {"password": "new", "tags": ""}
            await asyncio.to_thread(server.ask, "users/uploader", "PUT", change)
            await publish(connection, "", "transcode")
            with pytest.raises(ProbableAuthenticationError):
                await aio_pika.connect(address)

    try:
        asyncio.run(run())
    finally:
        server.ask("users/uploader", "DELETE")


@ConsumerRebalanceListener.register
class Moves:
    """What a member of a group is told of its partitions."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_partitions_revoked(self, _: object) -> None:
        self.seen.append("revoked")

    async def on_partitions_assigned(self, _: object) -> None:
        self.seen.append("assigned")


@pytest.mark.broker("kafka")
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_kafka_restart_of_a_static_member_moves_no_partition(static: bool, server: Server) -> None:
    async def member(name: str) -> tuple[AIOKafkaConsumer, Moves]:
        moves = Moves()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=server.address,
            group_id="transcoders",
            group_instance_id=name if static else None,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=300,
        )
        consumer.subscribe(["transcode"], listener=moves)
        await consumer.start()
        return consumer, moves

    async def share(*members: AIOKafkaConsumer) -> None:
        deadline = time.monotonic() + 60
        while any(len(one.assignment()) != 1 for one in members):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    async def run() -> list[str]:
        topic = NewTopic("transcode", 2, 1)
        await ask(server.address, lambda admin: admin.create_topics([topic]))

        async def are_there() -> bool:
            [found] = await ask(server.address, lambda admin: admin.describe_topics([topic.name]))
            return len(found["partitions"]) == 2

        # A member that hears of them later joins the group again.
        await comes(are_there)
        (stays, moves), (restarts, _) = await asyncio.gather(member("A"), member("B"))
        try:
            await share(stays, restarts)
            before = len(moves.seen)
            await restarts.stop()
            if not static:
                deadline = time.monotonic() + 60
                while len(stays.assignment()) != 2:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
            restarts, _ = await member("B")
            await share(stays, restarts)
            return moves.seen[before:]
        finally:
            await stays.stop()
            await restarts.stop()

    seen = asyncio.run(run())
    assert seen.count("revoked") == (0 if static else 2)
