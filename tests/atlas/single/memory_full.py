"""The server's memory is used up: is a message confirmed, refused, or neither?"""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from aio_pika.abc import AbstractChannel
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import ServiceUnavailableError

from tests.atlas.single import (
    configured,
    with_kafka,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

ASKED = "memory-full"
BOUND = 500


def _process(server: Server) -> int:
    assert server._process
    return server._process.members()[0].pid


def _limit(process: int, more: int | None) -> None:
    """Let a process have so many more bytes of address space, or what it wants."""
    _, hard = resource.prlimit(process, resource.RLIMIT_AS)
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[0])
    soft = hard if more is None else pages * resource.getpagesize() + more
    resource.prlimit(process, resource.RLIMIT_AS, (soft, hard))


async def _until_blocked(channel: AbstractChannel) -> int:
    """Publish numbers until one gets no answer; return it."""
    for number in range(BOUND):
        try:
            async with asyncio.timeout(5):
                await with_rabbitmq.publish(channel, [number])
        except TimeoutError:
            return number
        await asyncio.sleep(0.1)  # until the alarm is raised
    raise AssertionError("the server went on")


@trial(
    ASKED,
    "rabbitmq",
    "`vm_memory_high_watermark` of 1 MB; the default is 60 % of the machine's memory",
    default=True,
    holds=False,
    short="no answer",
    says="Above the mark, the server stopped reading from whoever publishes: no confirm within 5 s, no refusal, and the connection stayed open. When there was room again, the message was in the queue.",
    documented=Documented(
        agrees=True,
        says="Above the high watermark an alarm is raised, and all connections that publish are blocked until it clears. The default is 60 % of the memory.",
        source="https://www.rabbitmq.com/docs/memory",
    ),
)
def rabbitmq_watermark(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)

    async def proof() -> None:
        mark = "set_vm_memory_high_watermark"
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel)
            await asyncio.to_thread(server.control, mark, "absolute", "1MB")
            try:
                number = await _until_blocked(channel)
                assert not channel.is_closed
            finally:
                await asyncio.to_thread(server.control, mark, "0.6")
            # On this connection, the answer comes after what was sent before.
            assert await with_rabbitmq.rest(queue) == [*range(number + 1)]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "a heap of 96 MB (`-Xmx96m`), `log.cleaner.dedupe.buffer.size=10485760`; the default heap is 1 GB",
    default=True,
    holds=True,
    short="all confirmed",
    says="{megabytes} MB of records were confirmed, and all were there: Kafka keeps them in files, and not in its own memory.",
    documented=Documented(
        agrees=True,
        says="Data is written to the file system at once, which means into the kernel's page cache, rather than kept in memory.",
        source="https://kafka.apache.org/44/design/design/#persistence",
    ),
)
def kafka_heap(server: Server) -> Numbers:
    async def proof(own: Server) -> int:
        [place] = await with_kafka.create(own.address)
        async with with_kafka.producing(own.address) as producer:
            for _ in range(150):
                await producer.send_and_wait(place.topic, bytes(1_000_000))
        async with with_kafka.consuming(own.address, group=None) as consumer:
            return int((await consumer.end_offsets([place]))[place])

    with server.another(
        configured.kafka("log.cleaner.dedupe.buffer.size=10485760", heap="96m")
    ) as own:
        there = asyncio.run(proof(own))
    assert there == 150
    return {"megabytes": there}


async def _fill(server: Server, storage: StorageType) -> tuple[int, int]:
    """Publish to a stream until that is refused; return how many were confirmed, and are there."""
    async with jetstream(server, stream=StreamConfig(storage=storage)) as stream:
        confirmed = 0
        with suppress(ServiceUnavailableError):
            while confirmed < 50:
                await stream.publish(with_nats.STREAM, bytes(100_000))
                confirmed += 1
        return confirmed, (await stream.stream_info(with_nats.STREAM)).state.messages


@trial(
    ASKED,
    "nats",
    "`storage: file`, `max_memory_store: 1MB`",
    default=True,
    holds=True,
    short="all confirmed",
    says="5 MB of messages were confirmed, and all {kept} were there: a stream in files does not count.",
)
def nats_file(server: Server) -> Numbers:
    with server.another(configured.nats(jetstream="max_memory_store: 1MB,")) as own:
        confirmed, there = asyncio.run(_fill(own, StorageType.FILE))
    assert confirmed == there == 50
    return {"kept": there}


@trial(
    ASKED,
    "nats",
    "`storage: memory`, `max_memory_store: 1MB`",
    holds=True,
    short="refused",
    says="{kept} messages of 0.1 MB were confirmed and kept, and the next was refused with the error `insufficient resources`.",
    documented=Documented(
        agrees=True,
        says="`max_memory_store` is the greatest size of the memory storage, by default 75 % of the memory that is available.",
        source="https://docs.nats.io/reference/config/jetstream/max_memory_store",
    ),
)
def nats_memory(server: Server) -> Numbers:
    with server.another(configured.nats(jetstream="max_memory_store: 1MB,")) as own:
        confirmed, there = asyncio.run(_fill(own, StorageType.MEMORY))
    assert 0 < confirmed == there < 50
    return {"kept": there}


def _add(client: Any) -> int:
    """Add entries until it fails; return how many were confirmed."""
    for number in range(BOUND):
        try:
            client.xadd(with_redis.STREAM, {"body": bytes(100_000)})
        except redis.RedisError:
            return number
    return BOUND


@trial(
    ASKED,
    "redis",
    "`maxmemory 0`, no limit, in a process that may have 10 MB more",
    default=True,
    holds=False,
    short="server ends; all lost",
    says="The server ended, `xadd()` raised `ConnectionError`, and all that had been confirmed was gone when it had been started again.",
    documented=Documented(
        agrees=True,
        says="`maxmemory` of 0 means no limit on 64-bit systems, so that Redis uses memory until there is none.",
        source="https://redis.io/docs/latest/develop/reference/eviction/",
    ),
)
def redis_no_limit(server: Server) -> Numbers:
    with server.another(configured.redis()) as own:
        with with_redis.connected(own) as client:
            client.ping()
            _limit(_process(own), 10_000_000)
            assert 0 < _add(client) < BOUND
        wait_until(lambda: not own.running, "the server to end")
        own.kill()
        own.start()
        with with_redis.connected(own) as client:
            assert client.keys() == []
    return {}


@trial(
    ASKED,
    "redis",
    "`maxmemory`, `maxmemory-policy noeviction`",
    holds=True,
    short="refused",
    says="`XADD` was refused with `OOM command not allowed`, and all confirmed entries were there. Reading and acknowledging went on, and deleting entries made room.",
    documented=Documented(
        agrees=True,
        says="With `noeviction`, which is the default policy, new values are not saved when the memory limit is reached, and the command returns an error.",
        source="https://redis.io/docs/latest/develop/reference/eviction/",
    ),
)
def redis_noeviction(server: Server) -> Numbers:
    with server.another(configured.redis()) as own, with_redis.connected(own) as client:
        with_redis.grouped(client)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 3_000_000)
        confirmed = _add(client)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.xadd(with_redis.STREAM, {"body": bytes(100_000)})
        assert 0 < confirmed == client.xlen(with_redis.STREAM)
        taken = [number for number, _ in with_redis.read(client, count=10)]
        assert client.xack(with_redis.STREAM, with_redis.GROUP, *taken) == 10
        assert client.xdel(with_redis.STREAM, *taken) == 10
        assert client.xadd(with_redis.STREAM, {"body": bytes(100_000)})
    return {}


@trial(
    ASKED,
    "redis",
    "`maxmemory`, `maxmemory-policy allkeys-lru`",
    holds=False,
    short="confirmed; stream deleted",
    says="Every `XADD` was confirmed. To make room, the server deleted the whole stream, its groups and unread entries with it, and began a new one.",
    documented=Documented(
        agrees=True,
        says="With `allkeys-lru`, keys are evicted, the least recently used first. A stream is one key.",
        source="https://redis.io/docs/latest/develop/reference/eviction/",
    ),
)
def redis_eviction(server: Server) -> Numbers:
    with server.another(configured.redis()) as own, with_redis.connected(own) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 3_000_000)
        with_redis.grouped(client)
        assert _add(client) == BOUND
        assert client.xlen(with_redis.STREAM) < BOUND
        with pytest.raises(redis.ResponseError, match="NOGROUP"):
            with_redis.read(client)
    return {}


def _to_absent(own: Server, *, more: int | None = None) -> tuple[int, int]:
    """Publish for a client that is away until it fails; return the confirmed, and what came."""
    with session(own, "worker", expiry=600) as worker:
        worker.subscribe("videos")
    confirmed = 0
    with session(own) as producer:
        if more:
            _limit(_process(own), more)
        with suppress(ConnectionError):
            while confirmed < BOUND:
                assert str(producer.publish("videos", os.urandom(100_000))) == "Success"
                confirmed += 1
        assert confirmed < BOUND
    if more:
        _limit(_process(own), None)
    with session(own, "worker", expiry=600) as worker:
        acknowledged = -1
        while acknowledged < len(worker.received):
            acknowledged = len(worker.received)
            for message in worker.received[:acknowledged]:
                worker.ack(message)
            worker.settled()
        return confirmed, len(worker.received)


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, no `memory_limit`, in a process that may have 10 MB more",
    default=True,
    holds=False,
    short="connection closed; all kept",
    says="The server closed the producer's connection, without a confirm for the message that did not fit. All that had been confirmed reached the worker, once the process had more memory.",
)
def mqtt_no_limit(server: Server) -> Numbers:
    with server.another(configured.mosquitto("max_queued_messages 0")) as own:
        confirmed, came = _to_absent(own, more=10_000_000)
    assert 0 < confirmed == came
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `memory_limit 3000000`",
    holds=False,
    short="connection closed; all kept",
    says="The server closed the producer's connection, without a confirm for the message that did not fit. All {kept} confirmed messages reached the worker.",
    documented=Documented(
        agrees=True,
        says="Beyond `memory_limit`, a message that comes in is dropped, and the client that publishes it is disconnected.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_memory_limit(server: Server) -> Numbers:
    lines = ("memory_limit 3000000", "max_queued_messages 0")
    with server.another(configured.mosquitto(*lines)) as own:
        confirmed, came = _to_absent(own)
    assert 0 < confirmed == came
    return {"kept": came}


@trial(
    ASKED,
    "postgresql",
    "a queue table, `shared_buffers = 1MB`",
    default=True,
    holds=True,
    short="all confirmed",
    says="{megabytes} MB of rows were committed, and all were there: what does not fit into its memory, PostgreSQL writes into its files.",
)
def postgresql_buffers(server: Server) -> Numbers:
    with (
        server.another(configured.postgresql("shared_buffers=1MB")) as own,
        with_postgresql.connect(own) as connection,
    ):
        with_postgresql.declare(connection)
        bodies = [os.urandom(50_000).hex() for _ in range(100)]
        with_postgresql.publish(connection, *bodies)
        assert with_postgresql.waiting(connection) == bodies
    return {"megabytes": sum(map(len, bodies)) / 1_000_000}
