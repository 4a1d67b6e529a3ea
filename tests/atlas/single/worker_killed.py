"""A worker dies with messages in hand: when do they come again?"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import aio_pika
import nats
import psycopg
import redis
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from nats.js.api import ConsumerConfig

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.apart import Tell, Worker, working
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.kafka import Kafka
from tests.brokers.proxy import Proxy
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.types import test_share_groups as share

ASKED = "worker-killed"
NUMBERS = (0, 1, 2)


async def _rabbitmq(address: str, tell: Tell, *, no_ack: bool = False) -> None:
    async with with_rabbitmq.opened(address) as channel:
        queue = await with_rabbitmq.declare(channel)
        asked, taken = time.monotonic(), asyncio.Queue[AbstractIncomingMessage]()
        await queue.consume(taken.put, no_ack=no_ack)
        for _ in NUMBERS:
            await taken.get()
        tell(asked)
        await asyncio.Event().wait()


def rabbitmq_worker(address: str, tell: Tell) -> None:
    asyncio.run(_rabbitmq(address, tell))


def rabbitmq_careless(address: str, tell: Tell) -> None:
    asyncio.run(_rabbitmq(address, tell, no_ack=True))


@trial(
    ASKED,
    "rabbitmq",
    "manual acknowledgement",
    default=True,
    holds=True,
    short="again at once",
    says="The server saw the connection end, and another consumer had all three messages {milliseconds} ms after the kill, marked `redelivered`.",
    documented=Documented(
        agrees=True,
        says="What was not acknowledged is requeued when its channel or connection is closed, also by the end of the consumer's process, and is marked as redelivered.",
        source="https://www.rabbitmq.com/docs/4.3/confirms#automatic-requeueing",
    ),
)
def rabbitmq_acknowledged_by_hand(server: Server) -> Numbers:
    async def proof() -> float:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await with_rabbitmq.publish(channel, NUMBERS)
            with working(server, rabbitmq_worker) as worker:
                taken = asyncio.Queue[AbstractIncomingMessage]()
                await queue.consume(taken.put)
                killed = worker.kill()
                again = [await asyncio.wait_for(taken.get(), SECONDS) for _ in NUMBERS]
            assert sorted(int(one.body) for one in again) == [*NUMBERS]
            assert all(one.redelivered for one in again)
            return time.monotonic() - killed

    return {"milliseconds": round(1000 * asyncio.run(proof()))}


@trial(
    ASKED,
    "rabbitmq",
    "`no_ack=True`",
    holds=False,
    short="never",
    says="The queue was empty when the messages had been sent: the worker had them in its memory, and they were gone.",
    documented=Documented(
        agrees=True,
        says="In automatic acknowledgement mode, a message counts as delivered as soon as it is sent, and is lost if the connection is closed before it has arrived; the guide calls the mode unsafe.",
        source="https://www.rabbitmq.com/docs/4.3/confirms#acknowledgement-modes",
    ),
)
def rabbitmq_no_ack(server: Server) -> Numbers:
    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await with_rabbitmq.publish(channel, NUMBERS)
            with working(server, rabbitmq_careless) as worker:
                worker.kill()

            async def alone() -> bool:
                found = await channel.declare_queue(queue.name, passive=True)
                return found.declaration_result.consumer_count == 0

            await comes(alone)
            assert await with_rabbitmq.rest(queue) == []

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "manual acknowledgement, `heartbeat` 2 s instead of 60 s, the worker's machine vanishes",
    holds=True,
    short="again after {again} s",
    says="Nothing told the server that the connection was dead. It ended the connection when it had missed heartbeats, and another consumer had the messages {again} s after the machine had vanished.",
    documented=Documented(
        agrees=True,
        says="After two missed heartbeats, the peer is considered unreachable, and its connection is closed.",
        source="https://www.rabbitmq.com/docs/4.3/heartbeats#heartbeats-interval",
    ),
)
def rabbitmq_heartbeat(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)
    proxy = Proxy(server.port_number)
    through = server.address.replace(str(server.port_number), str(proxy.port))

    async def proof() -> float:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await with_rabbitmq.publish(channel, NUMBERS)
            connection = await aio_pika.connect(f"{through}?heartbeat=2")
            worker = await connection.channel()
            held, taken = (asyncio.Queue[AbstractIncomingMessage]() for _ in "ab")
            await (await worker.get_queue(queue.name)).consume(held.put)
            for _ in NUMBERS:
                await asyncio.wait_for(held.get(), SECONDS)
            await queue.consume(taken.put)
            proxy.silence()
            vanished = time.monotonic()
            again = [await asyncio.wait_for(taken.get(), SECONDS) for _ in NUMBERS]
            assert sorted(int(one.body) for one in again) == [*NUMBERS]
            after = time.monotonic() - vanished
            proxy.cut()
            with suppress(AMQPError, OSError):
                await connection.close()
            return after

    try:
        return {"again": asyncio.run(proof())}
    finally:
        proxy.close()


async def _kafka(address: str, tell: Tell, settings: dict[str, Any]) -> None:
    early: dict[str, Any] = {"auto_offset_reset": "earliest"}
    async with with_kafka.consuming(address, **early, **settings) as consumer:
        asked = time.monotonic()
        await consumer.getone()
        tell(asked)
        await asyncio.Event().wait()


def kafka_worker(address: str, tell: Tell, **settings: Any) -> None:
    asyncio.run(_kafka(address, tell, settings))


async def _first_to_the_next(server: Server, worker: Worker) -> tuple[int, float]:
    """Kill a worker and start the next one; return what it gets first, and after which time."""
    killed = worker.kill()
    async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as consumer:
        record = await asyncio.wait_for(consumer.getone(), 2 * SECONDS)
    return int(record.value), time.monotonic() - killed


@trial(
    ASKED,
    "kafka",
    "`enable_auto_commit=True`",
    default=True,
    holds=False,
    short="never",
    says="The client had committed the offset by itself while the worker was at work: the next worker began behind the message, and nobody got it again.",
    documented=Documented(
        agrees=False,
        says="The guide to aiokafka says that its example with `enable_auto_commit=True` can have at-least-once semantics if messages are processed one at a time. In this run they were.",
        source="https://aiokafka.readthedocs.io/en/stable/consumer.html#manual-vs-automatic-committing",
    ),
)
def kafka_auto_commit(server: Server) -> Numbers:
    assert isinstance(server, Kafka)

    async def proof() -> None:
        await with_kafka.create(server.address)
        await with_kafka.publish(server.address, [0])
        with working(server, kafka_worker) as worker:

            async def committed() -> bool:
                found = await asyncio.to_thread(server.committed, with_kafka.GROUP)
                return [offset for offset, _ in found] == [1]

            await comes(committed)
            await with_kafka.publish(server.address, [1])
            first, _ = await _first_to_the_next(server, worker)
        assert first == 1

    asyncio.run(proof())
    return {}


def _kafka_session(server: Server, seconds: float) -> Numbers:
    milliseconds = int(1000 * seconds)
    work = partial(kafka_worker, enable_auto_commit=False, session_timeout_ms=milliseconds)

    async def proof() -> float:
        await with_kafka.create(server.address)
        await with_kafka.publish(server.address, [0])
        with working(server, work) as worker:
            first, again = await _first_to_the_next(server, worker)
        assert first == 0
        return again

    return {"again": asyncio.run(proof())}


@trial(
    ASKED,
    "kafka",
    "`enable_auto_commit=False`, `session_timeout_ms=10000`, aiokafka's default",
    holds=True,
    short="again after {again} s",
    says="The group waited until the session of the dead worker was over. The next worker, which was there at once, had the message {again} s after the kill.",
    documented=Documented(
        agrees=True,
        says="When no heartbeat of a consumer arrives within its session time-out, the broker removes it from the group and begins a rebalance.",
        source="https://aiokafka.readthedocs.io/en/stable/api.html#aiokafka.AIOKafkaConsumer",
    ),
)
def kafka_session_of_10_s(server: Server) -> Numbers:
    return _kafka_session(server, 10)


@trial(
    ASKED,
    "kafka",
    "`enable.auto.commit=false`, `session.timeout.ms=45000`, the Java client's default",
    holds=True,
    short="again after {again} s",
    says="The group waited until the session of the dead worker was over. The next worker, which was there at once, had the message {again} s after the kill.",
    documented=Documented(
        agrees=True,
        says="When no heartbeat arrives within `session.timeout.ms`, 45000 by default, the broker removes the consumer from the group and begins a rebalance.",
        source="https://kafka.apache.org/44/configuration/consumer-configs/",
    ),
)
def kafka_session_of_45_s(server: Server) -> Numbers:
    return _kafka_session(server, 45)


def kafka_of_a_share_group(address: str, tell: Tell) -> None:
    with share.worker(cast("Server", SimpleNamespace(address=address))) as worker:
        asked = time.monotonic()
        assert [*share.take(worker)] == ["cat"]
        tell(asked)
        time.sleep(3600)


@trial(
    ASKED,
    "kafka",
    "share group, `share.record.lock.duration.ms` 60 s instead of 30 s",
    holds=True,
    short="again after {again} s",
    says="The server saw the connection end and did not wait for the lock: another worker of the group had the record {again} s after the kill.",
)
def kafka_share_group(server: Server) -> Numbers:
    share.create(server, share.TOPIC)
    share.configure(
        server, share_auto_offset_reset="earliest", share_record_lock_duration_ms="60000"
    )
    share.publish(server, "cat")
    with working(server, kafka_of_a_share_group) as dies, share.worker(server) as other:
        killed = dies.kill()
        again = share.take(other)["cat"]
        came = time.monotonic()
        assert came < dies.asked + 60, "it came when the lock was over"
        assert (again.delivery_count() or 0) == 2
        share.settle(other, again)
    return {"again": came - killed}


async def _nats(address: str, tell: Tell) -> None:
    async with await nats.connect(address) as connection:
        workers = await connection.jetstream().pull_subscribe_bind("workers", "videos")
        asked = time.monotonic()
        await workers.fetch(1, timeout=SECONDS)
        tell(asked)
        await asyncio.Event().wait()


def nats_worker(address: str, tell: Tell) -> None:
    asyncio.run(_nats(address, tell))


def _nats_lease(server: Server, lease: float, config: ConsumerConfig) -> Numbers:
    async def proof() -> float:
        async with jetstream(server) as stream:
            workers = await stream.pull_subscribe("videos", durable="workers", config=config)
            assert (await workers.consumer_info()).config.ack_wait == lease
            await stream.publish("videos", b"0")
            with working(server, nats_worker) as worker:
                worker.kill()
                [message] = await workers.fetch(1, timeout=2 * SECONDS)
                again = time.monotonic() - worker.asked
            assert (message.data, message.metadata.num_delivered) == (b"0", 2)
            return again

    again = asyncio.run(proof())
    assert again >= lease
    return {"again": again}


@trial(
    ASKED,
    "nats",
    "pull consumer, `ack_wait` 30 s",
    default=True,
    holds=True,
    short="again after {again} s",
    says="The end of the connection changed nothing: the server gave the message to another worker when `ack_wait` was over, {again} s after the first one had asked for it.",
    documented=Documented(
        agrees=True,
        says="The time runs from the delivery. If no answer has come within `AckWait`, 30 s by default, the server delivers the message again.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_ack_wait_of_30_s(server: Server) -> Numbers:
    return _nats_lease(server, 30, ConsumerConfig())


@trial(
    ASKED,
    "nats",
    "pull consumer, `ack_wait` 2 s",
    holds=True,
    short="again after {again} s",
    says="Another worker got the message when `ack_wait` was over, {again} s after the first one had asked for it.",
)
def nats_ack_wait_of_2_s(server: Server) -> Numbers:
    return _nats_lease(server, 2, ConsumerConfig(ack_wait=2))


def redis_worker(address: str, tell: Tell) -> None:
    with redis.Redis.from_url(address) as client:
        asked = time.monotonic()
        client.xreadgroup("workers", "A", {"videos": ">"})
        tell(asked)
        time.sleep(3600)


@trial(
    ASKED,
    "redis",
    "`XREADGROUP`",
    default=True,
    holds=False,
    short="never by itself",
    says="The message stayed in the dead worker's list of pending entries, and `XREADGROUP` with `>` gave another worker only what was new.",
    documented=Documented(
        agrees=True,
        says="With `>`, a consumer gets messages that were never delivered to another one; each message has one owner, and others have to claim what a consumer that failed had.",
        source="https://redis.io/docs/latest/commands/xreadgroup/",
    ),
)
def redis_nobody_claims(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        held = client.xadd("videos", {"number": 0})
        with working(server, redis_worker) as worker:
            worker.kill()
        # Its connection is gone from the server's list before the other one asks.
        wait_until(lambda: len(client.client_list()) == 1, "the server to see the connection end")
        new = client.xadd("videos", {"number": 1})
        [(_, entries)] = client.xreadgroup("workers", "B", {"videos": ">"})
        assert [number for number, _ in entries] == [new]
        pending = client.xpending_range("videos", "workers", "-", "+", 10, "A")
        assert [one["message_id"] for one in pending] == [held]
    return {}


@trial(
    ASKED,
    "redis",
    "`XAUTOCLAIM`, `min-idle-time` 2 s",
    holds=True,
    short="again after {again} s",
    says="Another worker called `XAUTOCLAIM` again and again, and got the message {again} s after the first one had asked for it.",
    documented=Documented(
        agrees=True,
        says="`XAUTOCLAIM` gives the caller what has been pending for more than `min-idle-time`.",
        source="https://redis.io/docs/latest/commands/xautoclaim/",
    ),
)
def redis_xautoclaim(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        held = client.xadd("videos", {"number": 0})
        found: list[bytes] = []

        def claimed() -> bool:
            answer = client.xautoclaim("videos", "workers", "B", 2000)
            found.extend(number for number, _ in answer[1])
            return bool(found)

        with working(server, redis_worker) as worker:
            worker.kill()
            wait_until(claimed, "the message to be claimed")
            again = time.monotonic() - worker.asked
    assert found == [held]
    assert again >= 2
    return {"again": again}


SHARED = "$share/workers/videos"


def mqtt_worker(address: str, tell: Tell, *, expiry: int = 3600) -> None:
    place = cast("Server", SimpleNamespace(address=address))
    with with_mqtt.session(place, "A", expiry=expiry) as session:
        session.subscribe(SHARED)
        asked = time.monotonic()
        for number in NUMBERS:
            session.publish("videos", str(number))
        session.comes(*map(str, NUMBERS))
        tell(asked)
        time.sleep(3600)


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `$share`",
    default=True,
    holds=False,
    short="when it is back",
    says="Another worker of the shared subscription got none of the three messages: they waited in the dead worker's session, and came again, marked as duplicates, when it connected with the same client id.",
    documented=Documented(
        agrees=True,
        says="When the connection breaks before a QoS 1 message of a shared subscription is acknowledged, the server may wait for that client, or send the message to another one (section 4.8.2).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901250",
    ),
)
def mqtt_durable_session(server: Server) -> Numbers:
    with with_mqtt.session(server, "B", expiry=3600) as other:
        with working(server, mqtt_worker) as worker:
            other.subscribe(SHARED)
            worker.kill()
        _has_seen_the_end(server)
        for number in (3, 4):
            other.publish("videos", str(number))
        wait_until(lambda: bool(other.bodies()), "the other worker to get a message")
        assert not {*other.bodies()} & {*map(str, NUMBERS)}
        with with_mqtt.session(server, "A", expiry=3600) as back:
            assert back.present
            wait_until(lambda: len(back.received) >= len(NUMBERS), "what waited")
            again = back.received[: len(NUMBERS)]
            assert [int(one.payload) for one in again] == [*NUMBERS]
            assert all(one.dup for one in again)
    return {}


@trial(
    ASKED,
    "mqtt",
    "session expiry 0, paho's default, QoS 1, `$share`",
    holds=False,
    short="never",
    says="The server forgot the dead worker's session, and with it the three messages: another worker of the shared subscription got only what was published afterwards.",
    documented=Documented(
        agrees=False,
        says="If the client's session ends before it reconnects, the server should send a QoS 1 message that was not acknowledged to another client of the same shared subscription (MQTT 5.0, section 4.8.2). That is a recommendation of the protocol and not a requirement.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901250",
    ),
)
def mqtt_session_that_ends(server: Server) -> Numbers:
    with with_mqtt.session(server, "B", expiry=3600) as other:
        with working(server, partial(mqtt_worker, expiry=0)) as worker:
            other.subscribe(SHARED)
            worker.kill()
        _has_seen_the_end(server)
        other.publish("videos", "3")
        other.comes("3")
        other.settled()
        assert other.bodies() == ["3"]
    return {}


def _has_seen_the_end(server: Server) -> None:
    wait_until(lambda: "Client A" in server.tail(), "the server to see the connection end")


def postgresql_worker(address: str, tell: Tell) -> None:
    with psycopg.connect(address, autocommit=True) as connection, connection.transaction():
        asked = time.monotonic()
        assert with_postgresql.take(connection)
        tell(asked)
        time.sleep(3600)


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, one transaction",
    default=True,
    holds=True,
    short="again at once",
    says="The server saw the connection end and rolled the transaction back, and another worker had the message {milliseconds} ms after the kill.",
)
def postgresql_open_transaction(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "0")
        with working(server, postgresql_worker) as worker:
            assert with_postgresql.work(connection) is None
            killed = worker.kill()
            wait_until(lambda: with_postgresql.work(connection) == "0", "the message to come again")
            return {"milliseconds": round(1000 * (time.monotonic() - killed))}


LEASED = """
UPDATE tasks SET taken_until = clock_timestamp() + '2 s' WHERE id = (
  SELECT id FROM tasks WHERE taken_until < clock_timestamp()
  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING body"""


def postgresql_leased(address: str, tell: Tell) -> None:
    with psycopg.connect(address, autocommit=True) as connection:
        asked = time.monotonic()
        assert connection.execute(LEASED).fetchone()
        tell(asked)
        time.sleep(3600)


@trial(
    ASKED,
    "postgresql",
    "a column `taken_until`, 2 s, committed before the work",
    holds=True,
    short="again after {again} s",
    says="Another worker got the message when the time in the column was over, {again} s after the first one had asked for it.",
)
def postgresql_lease(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD taken_until timestamptz DEFAULT '-infinity'")
        with_postgresql.publish(connection, "0")
        with working(server, postgresql_leased) as worker:
            worker.kill()

            def taken() -> bool:
                return connection.execute(LEASED).fetchone() == ("0",)

            wait_until(taken, "the lease to be over")
            again = time.monotonic() - worker.asked
    assert again >= 2
    return {"again": again}
