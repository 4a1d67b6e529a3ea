"""A worker hangs, with its connection open: when does another get its message?"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import Any

import nats
import psycopg
import pytest
import redis
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiokafka import AIOKafkaConsumer
from confluent_kafka import KafkaException
from nats.js.api import ConsumerConfig

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.types import test_share_groups as share

ASKED = "worker-hangs"


async def _consumed(queue: AbstractQueue) -> asyncio.Queue[AbstractIncomingMessage]:
    taken = asyncio.Queue[AbstractIncomingMessage]()
    await queue.consume(taken.put)
    return taken


@trial(
    ASKED,
    "rabbitmq",
    "classic queue, `consumer_timeout` 1 s instead of 30 min",
    default=True,
    holds=False,
    short="never",
    says="The time-out had no effect on a classic queue: the worker kept the message for more than three times as long, and could still acknowledge it.",
    documented=Documented(
        agrees=True,
        says="Since 4.3, the time-out is only supported by quorum queues.",
        source="https://www.rabbitmq.com/docs/4.3/consumers#acknowledgement-timeout",
    ),
)
def rabbitmq_classic(server: Server) -> Numbers:
    keeps_it(server)
    return {}


def keeps_it(server: Server) -> None:
    """Show that a consumer of a classic queue may hold a message for longer than the time-out."""
    assert isinstance(server, Rabbitmq)
    setting = "application:set_env(rabbit, {}, {})".format

    async def proof() -> None:
        async with (
            with_rabbitmq.opened(server.address) as slow,
            with_rabbitmq.opened(server.address) as clock,
            with_rabbitmq.opened(server.address) as other,
        ):
            queue = await with_rabbitmq.declare(slow)
            # A queue whose time-out has an effect tells when that of the other is long over.
            late = await with_rabbitmq.declare(clock, "quorum", "clock", x_consumer_timeout=3000)
            await with_rabbitmq.publish(slow, [0], queue.name)
            await with_rabbitmq.publish(slow, [0], late.name)
            held = await asyncio.wait_for((await _consumed(queue)).get(), SECONDS)
            await asyncio.wait_for((await _consumed(late)).get(), SECONDS)
            others = await _consumed(await other.get_queue(queue.name))
            ticks = await _consumed(await other.get_queue(late.name))
            await asyncio.wait_for(ticks.get(), SECONDS)
            assert others.empty()
            await held.ack()
            await held.channel.close()
            assert others.empty()

    server.control(
        "eval", f"{setting('consumer_timeout', 1000)}, {setting('channel_tick_interval', 200)}."
    )
    try:
        asyncio.run(proof())
    finally:
        back = setting("consumer_timeout", 1_800_000), setting("channel_tick_interval", 60_000)
        server.control("eval", ", ".join(back) + ".")


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `x-consumer-timeout` 1 s instead of 30 min",
    holds=True,
    short="again after {again} s",
    says="The server cancelled the worker's subscription and gave the message to another consumer, {again} s after it was published. The worker's channel stayed open.",
    documented=Documented(
        agrees=False,
        says="The guide to consumers says that the channel is closed with `PRECONDITION_FAILED`, and that less than a minute is not supported. The guide to quorum queues says that the consumer is cancelled, as it was.",
        source="https://www.rabbitmq.com/docs/4.3/consumers#acknowledgement-timeout",
    ),
)
def rabbitmq_quorum(server: Server) -> Numbers:
    async def proof() -> float:
        async with (
            with_rabbitmq.opened(server.address) as slow,
            with_rabbitmq.opened(server.address) as other,
        ):
            queue = await with_rabbitmq.declare(slow, "quorum", x_consumer_timeout=1000)
            cancelled = asyncio.Event()
            underlay = await slow.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
            held, began = await _consumed(queue), time.monotonic()
            await with_rabbitmq.publish(slow, [0])
            await asyncio.wait_for(held.get(), SECONDS)
            others = await _consumed(await other.get_queue(queue.name))
            await asyncio.wait_for(others.get(), SECONDS)
            again = time.monotonic() - began
            await asyncio.wait_for(cancelled.wait(), SECONDS)
            assert not slow.is_closed
            return again

    again = asyncio.run(proof())
    assert again >= 1
    return {"again": again}


#: By default, the time to join again is `max_poll_interval_ms`: it would end between heartbeats.
QUICK: dict[str, Any] = {"heartbeat_interval_ms": 500, "rebalance_timeout_ms": 60_000}


async def _both_have_one(*members: AIOKafkaConsumer) -> None:
    async def shared() -> bool:
        return all(len(one.assignment()) == 1 for one in members)

    await comes(shared)


async def _kafka(server: Server, **settings: Any) -> tuple[bool, float]:
    """Tell whether the other one gets what a worker holds that hangs, and after which time."""
    address, early = server.address, {"auto_offset_reset": "earliest"}
    await with_kafka.create(address, partitions=2)
    async with (
        with_kafka.consuming(address, **early, **QUICK, **settings) as hangs,
        with_kafka.consuming(address, **early, **QUICK, enable_auto_commit=False) as other,
    ):
        waits = asyncio.create_task(hangs.getone())  # while it asks, it does not hang
        await _both_have_one(hangs, other)
        await with_kafka.publish(address, [0, 1], partitions=2)
        held = await asyncio.wait_for(waits, SECONDS)
        began = time.monotonic()
        await asyncio.wait_for(other.getone(), SECONDS)

        async def has_both() -> bool:
            return len(other.assignment()) == 2

        await comes(has_both)
        # Behind what is held, to the same partition: what comes first tells.
        await with_kafka.publish(address, [held.partition + 2], partitions=2)
        async with asyncio.timeout(SECONDS):
            while (record := await other.getone()).partition != held.partition:
                pass
        return record.value == held.value, time.monotonic() - began


@trial(
    ASKED,
    "kafka",
    "`enable_auto_commit=True`, `max_poll_interval_ms=7000` instead of 300000",
    default=True,
    holds=False,
    short="never",
    says="The client had committed the offset by itself after 5 s. When the hanging worker was put out of the group, the other one went on behind its message, and nobody got it again.",
)
def kafka_auto_commit(server: Server) -> Numbers:
    again, _ = asyncio.run(_kafka(server, max_poll_interval_ms=7000))
    assert not again
    return {}


@trial(
    ASKED,
    "kafka",
    "`enable_auto_commit=False`, `max_poll_interval_ms=2000` instead of 300000",
    holds=True,
    short="again after {again} s",
    says="The client left the group when its worker had not asked for records for the time of `max_poll_interval_ms`, and the other worker had the message {again} s after the first one had got it.",
    documented=Documented(
        agrees=True,
        says="A consumer that does not ask for records within `max_poll_interval_ms` is considered failed, and its partitions go to another member.",
        source="https://aiokafka.readthedocs.io/en/stable/api.html#aiokafka.AIOKafkaConsumer",
    ),
)
def kafka_max_poll_interval(server: Server) -> Numbers:
    again, after = asyncio.run(_kafka(server, enable_auto_commit=False, max_poll_interval_ms=2000))
    assert again
    return {"again": after}


@trial(
    ASKED,
    "kafka",
    "share group, `share.record.lock.duration.ms` 1 s instead of 30 s",
    holds=True,
    short="again after {again} s",
    says="Another worker of the group got the record when its lock was over, {again} s after the first one had begun to ask, which includes the time to join the group. When the first one acknowledged, it was told so: `INVALID_RECORD_STATE`.",
    documented=Documented(
        agrees=True,
        says="A record is locked for 30 s by default. When that has elapsed, the lock is released, and the record is available for another attempt.",
        source="https://kafka.apache.org/44/design/design/#the-share-consumer",
    ),
)
def kafka_share_group(server: Server) -> Numbers:
    share.create(server, share.TOPIC)
    share.configure(
        server, share_auto_offset_reset="earliest", share_record_lock_duration_ms="1000"
    )
    with share.worker(server) as hangs, share.worker(server) as other:
        share.publish(server, "cat")
        began = time.monotonic()
        held = share.take(hangs)["cat"]
        again = share.take(other)["cat"]
        after = time.monotonic() - began
        assert (again.delivery_count() or 0) > 1
        with pytest.raises(KafkaException, match="INVALID_RECORD_STATE"):
            share.settle(hangs, held)
    assert after >= 1
    return {"again": after}


async def _nats(server: Server, lease: float, config: ConsumerConfig) -> float:
    async with jetstream(server) as stream, await nats.connect(server.address) as connection:
        slow = await stream.pull_subscribe("videos", durable="workers", config=config)
        assert (await slow.consumer_info()).config.ack_wait == lease
        other = await connection.jetstream().pull_subscribe_bind("workers", "videos")
        await stream.publish("videos", b"0")
        began = time.monotonic()
        [held] = await slow.fetch(1, timeout=SECONDS)
        [again] = await other.fetch(1, timeout=2 * SECONDS)
        after = time.monotonic() - began
        assert (again.metadata.num_delivered, again.data) == (2, held.data)
        await again.ack_sync()
        await held.ack_sync()  # raises nothing: it does not learn that another one had it
    assert after >= lease
    return after


@trial(
    ASKED,
    "nats",
    "pull consumer, `ack_wait` 30 s",
    default=True,
    holds=True,
    short="again after {again} s",
    says="Another worker got the message when `ack_wait` was over, {again} s after the first one had asked for it. The first one learned nothing of it, not even when it acknowledged.",
    documented=Documented(
        agrees=True,
        says="If no answer has come within `AckWait`, 30 s by default, the server takes it that the worker has stopped, and delivers the message again.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_ack_wait_of_30_s(server: Server) -> Numbers:
    return {"again": asyncio.run(_nats(server, 30, ConsumerConfig()))}


@trial(
    ASKED,
    "nats",
    "pull consumer, `ack_wait` 2 s",
    holds=True,
    short="again after {again} s",
    says="Another worker got the message when `ack_wait` was over, {again} s after the first one had asked for it. The first one learned nothing of it, not even when it acknowledged.",
)
def nats_ack_wait_of_2_s(server: Server) -> Numbers:
    return {"again": asyncio.run(_nats(server, 2, ConsumerConfig(ack_wait=2)))}


@trial(
    ASKED,
    "redis",
    "`XREADGROUP`",
    default=True,
    holds=False,
    short="never by itself",
    says="`XREADGROUP` with `>` gave another worker only what was new; the message belonged to the worker that hung, however long it had done nothing.",
)
def redis_nobody_claims(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        held = client.xadd("videos", {"number": 0})
        client.xreadgroup("workers", "A", {"videos": ">"})
        # A day without a sign of life.
        client.xclaim("videos", "workers", "A", 0, [held], idle=86_400_000, justid=True)
        new = client.xadd("videos", {"number": 1})
        [(_, entries)] = client.xreadgroup("workers", "B", {"videos": ">"})
        assert [number for number, _ in entries] == [new]
        [pending] = client.xpending_range("videos", "workers", "-", "+", 10, "A")
        assert pending["message_id"] == held
        assert pending["time_since_delivered"] >= 86_400_000
    return {}


@trial(
    ASKED,
    "redis",
    "`XAUTOCLAIM`, `min-idle-time` 2 s",
    holds=True,
    short="again after {again} s",
    says="Another worker called `XAUTOCLAIM` again and again, and got the message {again} s after the first one had asked for it. The first one learned nothing of it; whichever of them acknowledged later was answered 0.",
    documented=Documented(
        agrees=True,
        says="`XAUTOCLAIM` gives the caller what has been pending for more than `min-idle-time`; that a message is processed twice is unavoidable in general.",
        source="https://redis.io/docs/latest/commands/xclaim/",
    ),
)
def redis_xautoclaim(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        held = client.xadd("videos", {"number": 0})
        began = time.monotonic()
        client.xreadgroup("workers", "A", {"videos": ">"})
        wait_until(
            lambda: bool(client.xautoclaim("videos", "workers", "B", 2000)[1]),
            "the message to be claimed",
        )
        again = time.monotonic() - began
        assert [client.xack("videos", "workers", held) for _ in "AB"] == [1, 0]
    assert again >= 2
    return {"again": again}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `$share`",
    default=True,
    holds=False,
    short="when it disconnects",
    says="MQTT has no time limit for a message in hand. Another worker of the shared subscription got none of it; it came again only when somebody connected with the hanging worker's client id, which ended its connection.",
    documented=Documented(
        agrees=True,
        says="The server sends what was not acknowledged again when the client reconnects to its session, and must not do so at any other time (MQTT 5.0, section 4.4).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901238",
    ),
)
def mqtt_no_limit(server: Server) -> Numbers:
    shared = "$share/workers/videos"
    with (
        with_mqtt.session(server, "A", expiry=3600) as hangs,
        with_mqtt.session(server, "B", expiry=3600) as other,
    ):
        hangs.subscribe(shared)
        other.publish("videos", "0")
        hangs.comes("0")
        other.subscribe(shared)
        for number in (1, 2):
            other.publish("videos", str(number))
        wait_until(lambda: bool(other.bodies()), "the other worker to get a message")
        assert "0" not in other.bodies()
        with with_mqtt.session(server, "A", expiry=3600) as successor:
            wait_until(lambda: "0" in successor.bodies(), "the message to come again")
            assert successor.received[0].dup
            wait_until(lambda: hangs.ended is not None, "the first connection to end")
    return {}


def _hangs(connection: psycopg.Connection[Any]) -> None:
    """Take a message in a transaction that stays open."""
    connection.autocommit = False
    assert with_postgresql.take(connection)


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, `idle_in_transaction_session_timeout` 0",
    default=True,
    holds=False,
    short="never",
    says="The transaction of the worker that hung stayed open, and its row stayed locked, when that of another one with a time-out had long been given to the next worker.",
    documented=Documented(
        agrees=True,
        says="`idle_in_transaction_session_timeout` is 0 by default, which disables it.",
        source="https://www.postgresql.org/docs/18/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT",
    ),
)
def postgresql_no_limit(server: Server) -> Numbers:
    with (
        closing(with_postgresql.connect(server)) as hangs,
        closing(with_postgresql.connect(server)) as clock,
        with_postgresql.connect(server) as other,
    ):
        assert hangs.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
        with_postgresql.declare(other)
        with_postgresql.publish(other, "0", "1")
        _hangs(hangs)
        clock.execute("SET idle_in_transaction_session_timeout = '1s'")
        _hangs(clock)
        wait_until(lambda: with_postgresql.work(other) == "1", "the other row to come free")
        assert with_postgresql.work(other) is None
        with_postgresql.acknowledge(hangs, 1)
        hangs.commit()
        assert with_postgresql.waiting(other) == []
    return {}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, `idle_in_transaction_session_timeout` 1 s",
    holds=True,
    short="again after {again} s",
    says="The server ended the connection of the worker that hung, and another one had the message {again} s after it had been taken. The first one saw an error when it went on.",
    documented=Documented(
        agrees=True,
        says="It ends a session that has been idle in an open transaction for longer, so that it holds no locks for too long.",
        source="https://www.postgresql.org/docs/18/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT",
    ),
)
def postgresql_idle_in_transaction(server: Server) -> Numbers:
    with (
        closing(with_postgresql.connect(server)) as hangs,
        with_postgresql.connect(server) as other,
    ):
        with_postgresql.declare(other)
        with_postgresql.publish(other, "0")
        hangs.execute("SET idle_in_transaction_session_timeout = '1s'")
        began = time.monotonic()
        _hangs(hangs)
        wait_until(lambda: with_postgresql.work(other) == "0", "the row to come free")
        again = time.monotonic() - began
        with pytest.raises(psycopg.Error):
            with_postgresql.acknowledge(hangs, 1)
    assert again >= 1
    return {"again": again}
