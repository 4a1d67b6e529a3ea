"""The work is done and the acknowledgement gets lost: who learns of it?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import nats
import psycopg
import pytest
import redis
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.commit import OffsetCommitRequest
from nats.errors import TimeoutError as NoAnswerError
from nats.js import JetStreamContext

from tests.atlas.single import (
    with_kafka,
    with_mqtt,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.proxy import Proxy
from tests.brokers.server import wait_until

ASKED = "acknowledgement-lost"
AGAIN = "again, marked"


@contextmanager
def between(server: Server) -> Iterator[tuple[Proxy, str]]:
    """Put a proxy in front of a server; yield it and its address."""
    proxy = Proxy(server.port_number)
    try:
        yield proxy, server.address.replace(f":{server.port_number}", f":{proxy.port}")
    finally:
        proxy.close()


@trial(
    ASKED,
    "rabbitmq",
    "`basic.ack`",
    default=True,
    holds=False,
    short=AGAIN,
    says="The worker's call returned without an error, as nothing answers it; another worker got the message again, marked as redelivered.",
    documented=Documented(
        agrees=True,
        says="What was not acknowledged is requeued, and `redelivered` says that a consumer may have seen it.",
        source="https://www.rabbitmq.com/docs/reliability#consumer-side",
    ),
)
def rabbitmq_ack(server: Server) -> Numbers:
    async def proof() -> None:
        with between(server) as (proxy, address):
            async with with_rabbitmq.opened(server.address) as other:
                queue = await with_rabbitmq.declare(other)
                await with_rabbitmq.publish(other, [0])
                async with with_rabbitmq.opened(address) as worker:
                    message = await (await worker.get_queue(queue.name)).get(timeout=60)
                    assert message
                    assert not message.redelivered
                    proxy.silence()
                    await message.ack()
                    proxy.cut()
                    again = None

                    async def came() -> bool:
                        nonlocal again
                        again = await queue.get(fail=False)
                        return again is not None

                    await comes(came)
                    assert again
                    assert again.redelivered

    asyncio.run(proof())
    return {}


async def _kafka(server: Server, *, commits: bool) -> tuple[int, list[int]]:
    """Let a worker do the first record, and end; return its commits, and what another then got."""
    [place] = await with_kafka.create(server.address)
    await with_kafka.publish(server.address, [0, 1])
    settings: dict[str, Any] = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    tries = 0
    async with with_kafka.consuming(server.address, **settings) as worker:
        send = worker._client.send

        async def without_the_first(node: int, request: Any, **options: Any) -> Any:
            nonlocal tries
            if isinstance(request, OffsetCommitRequest):
                tries += 1
                if tries == 1:
                    raise RequestTimedOutError
            return await send(node, request, **options)

        worker._client.send = without_the_first
        record = await worker.getone()
        if commits:
            await worker.commit({place: record.offset + 1})
    async with with_kafka.consuming(server.address, **settings) as other:
        return tries, [int((await other.getone()).value)]


@trial(
    ASKED,
    "kafka",
    "the worker ends between its work and its commit",
    default=True,
    holds=False,
    short="again, no mark",
    says="Another worker of the group got the record again, and nothing on it said so.",
    documented=Documented(
        agrees=True,
        says="A consumer that fails after its work and before its commit leaves messages that the next one does again.",
        source="https://kafka.apache.org/44/design/design/#message-delivery-semantics",
    ),
)
def kafka_ends_before_the_commit(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, commits=False)) == (0, [0])
    return {}


@trial(
    ASKED,
    "kafka",
    "`consumer.commit()`, and the worker goes on",
    holds=True,
    short="committed again",
    says="The client sent the commit again by itself, and it counted, as a group's member may commit on any connection: the record was done once.",
)
def kafka_commits_again(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, commits=True)) == (2, [1])
    return {}


async def _lose(proxy: Proxy, worker: Any) -> None:
    """End a connection of NATS's, on which nothing got through from `silence` on."""

    async def all_written() -> bool:
        return bool(worker.pending_data_size == 0)

    await comes(all_written)
    proxy.cut()


@trial(
    ASKED,
    "nats",
    "`ack()`, `ack_wait` of 2 s (by default 30 s)",
    default=True,
    holds=False,
    short="again after 2 s, marked",
    says="The worker's call returned without an error, as nothing answers it; another worker got the message when `ack_wait` was over, as its second delivery.",
    documented=Documented(
        agrees=True,
        says="The client does not wait for an answer to an acknowledgement. If that is lost on the way, the message is delivered again when `AckWait` is over.",
        source="https://docs.nats.io/learn/jetstream/delivery-and-acknowledgment",
    ),
)
def nats_ack(server: Server) -> Numbers:
    async def proof() -> int:
        with between(server) as (proxy, address):
            async with jetstream(server) as stream, await nats.connect(address) as worker:
                await with_nats.publish(stream, 0)
                mine = await with_nats.durable(worker.jetstream(), ack_wait=2)
                other = await with_nats.durable(stream)
                [message] = await with_nats.take(mine)
                proxy.silence()
                await message.ack()
                await _lose(proxy, worker)
                [again] = await with_nats.take(other)
                return again.metadata.num_delivered or 0

    assert asyncio.run(proof()) == 2
    return {}


@trial(
    ASKED,
    "nats",
    "`ack_sync()`",
    holds=True,
    short="worker learns, repeats",
    says="The worker's call ended with a time-out; when its client had connected again, the same call was answered, and nothing was left to be delivered.",
    documented=Documented(
        agrees=True,
        says="A double acknowledgement, `ack_sync` in Python, waits until the server has confirmed it.",
        source="https://docs.nats.io/learn/jetstream/delivery-and-acknowledgment",
    ),
)
def nats_ack_sync(server: Server) -> Numbers:
    async def left(stream: JetStreamContext) -> int:
        return (
            await stream.consumer_info(with_nats.STREAM, with_nats.DURABLE)
        ).num_ack_pending or 0

    async def proof() -> tuple[int, int]:
        with between(server) as (proxy, address):
            async with jetstream(server) as stream, await nats.connect(address) as worker:
                await with_nats.publish(stream, 0)
                mine = await with_nats.durable(worker.jetstream())
                [message] = await with_nats.take(mine)
                proxy.silence()
                with pytest.raises(NoAnswerError):
                    await message.ack_sync(timeout=0.5)
                before = await left(stream)
                await _lose(proxy, worker)

                async def answered() -> bool:
                    with suppress(NoAnswerError):
                        await message.ack_sync(timeout=1)
                        return True
                    return False

                await comes(answered)
                return before, await left(stream)

    assert asyncio.run(proof()) == (1, 0)
    return {}


@trial(
    ASKED,
    "redis",
    "`XACK`",
    default=True,
    holds=True,
    short="acknowledged again",
    says="The client connected again and sent `XACK` again by itself, and it counted, as it may come on any connection: the entry was done once.",
)
def redis_xack(server: Server) -> Numbers:
    with (
        between(server) as (proxy, address),
        with_redis.connected(server) as client,
        redis.Redis.from_url(address, decode_responses=True) as worker,
    ):
        with_redis.grouped(client)
        with_redis.add(client, 0)
        [(number, _)] = with_redis.read(worker)
        proxy.cut()
        assert worker.xack(with_redis.STREAM, with_redis.GROUP, number) == 1
        assert client.xpending(with_redis.STREAM, with_redis.GROUP)["pending"] == 0
    return {}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1",
    default=True,
    holds=False,
    short=AGAIN,
    says="The worker got the message again on its session's next connection, marked as a duplicate; nothing answers a PUBACK.",
    documented=Documented(
        agrees=True,
        says="MQTT-4.4.0-1: when a session goes on, what is not acknowledged has to be sent again, and at no other time.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901238",
    ),
)
def mqtt_qos_1(server: Server) -> Numbers:
    with between(server) as (proxy, _):
        with with_mqtt.session(server, "worker", expiry=600, port=proxy.port) as worker:
            worker.subscribe("videos")
            with with_mqtt.session(server) as producer:
                producer.publish("videos", "0")
            worker.comes("0")
            assert not worker.received[0].dup
            proxy.silence()
            worker.ack(worker.received[0])
            proxy.cut()
            wait_until(lambda: worker.ended is not None, "the worker's connection to end")
        with with_mqtt.session(server, "worker", expiry=600) as worker:
            worker.comes("0")
            assert worker.received[0].dup
    return {}


@contextmanager
def working(server: Server) -> Iterator[tuple[Proxy, psycopg.Connection, psycopg.Connection]]:
    """Let a worker do all but its COMMIT; yield its proxy, its connection and another one."""
    with (
        between(server) as (proxy, address),
        with_postgresql.connect(server) as other,
        psycopg.connect(address, autocommit=True) as worker,
    ):
        with_postgresql.declare(other)
        other.execute("CREATE TABLE views (body text)")
        with_postgresql.publish(other, "0")
        worker.execute("BEGIN")
        taken = with_postgresql.take(worker)
        assert taken
        worker.execute("INSERT INTO views VALUES (%s)", [taken[1]])
        with_postgresql.acknowledge(worker, taken[0])
        yield proxy, worker, other


@trial(
    ASKED,
    "postgresql",
    "`COMMIT`, with the work in the same transaction; it does not arrive",
    default=True,
    holds=True,
    short="worker learns, undone",
    says="The worker's `COMMIT` ended with an error, another worker got the row, and what the first had written in that transaction was not there.",
)
def postgresql_commit(server: Server) -> Numbers:
    with working(server) as (proxy, worker, other), ThreadPoolExecutor(1) as thread:
        proxy.silence()
        commit = thread.submit(worker.execute, "COMMIT")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            commit.result(60)
        again: list[str] = []

        def came() -> bool:
            again.extend(filter(None, [with_postgresql.work(other)]))
            return bool(again)

        wait_until(came, "the row to be free")
        assert again == ["0"]
        assert other.execute("SELECT FROM views").rowcount == 0
    return {}


@trial(
    ASKED,
    "postgresql",
    "`COMMIT`, with the work in the same transaction; only its answer gets lost",
    holds=True,
    short="done once, error",
    says="The worker's `COMMIT` ended with an error although it was carried out: nobody got the row again, and what the worker had written was there.",
)
def postgresql_answer_to_commit(server: Server) -> Numbers:
    with working(server) as (proxy, worker, other), ThreadPoolExecutor(1) as thread:
        proxy.deafen()
        commit = thread.submit(worker.execute, "COMMIT")
        wait_until(lambda: not with_postgresql.waiting(other), "the commit to be carried out")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            commit.result(60)
        assert with_postgresql.work(other) is None
        assert other.execute("SELECT FROM views").rowcount == 1
    return {}
