"""A large backlog was worked off: does its space on the disk come back?"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

from aio_pika import DeliveryMode, Message
from nats.js.api import RetentionPolicy, StreamConfig

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.server import wait_until
from tests.types.test_redis import Bare

ASKED = "space-comes-back"
MEGABYTE = 1024**2
MESSAGES, SIZE = 400, 20_000
BACKLOG = MESSAGES * SIZE


def stored(folder: Path) -> int:
    """Return how many bytes the files of a folder have on the disk."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found += (Path(place) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue  # the server has just deleted it
    return found


def numbers(before: int, full: int, after: int) -> Numbers:
    """Return by how many megabytes the folder had grown, with the backlog and without it."""
    assert full - before > 0.8 * BACKLOG
    grown = {"full": (full - before) / MEGABYTE, "after": max(0, after - before) / MEGABYTE}
    return {name: round(value, 1) for name, value in grown.items()}


def came_back(found: Numbers) -> bool:
    return found["after"] < found["full"] / 4


async def _work_off(server: Server, kind: str, size: int = SIZE) -> Numbers:
    backlog = MESSAGES * size
    async with rabbitmq.opened(server.address, prefetch=100) as channel:
        queue = await rabbitmq.declare(channel, kind)
        before = stored(server.data)
        message = Message(os.urandom(size), delivery_mode=DeliveryMode.PERSISTENT)
        for _ in range(MESSAGES):
            await channel.default_exchange.publish(message, queue.name)
        wait_until(lambda: stored(server.data) - before > 0.8 * backlog, "the backlog on the disk")
        full = stored(server.data)
        options: Any = {"arguments": {"x-stream-offset": "first"}} if kind == "stream" else {}
        done = 0
        async with queue.iterator(timeout=60, **options) as messages:
            async for one in messages:
                await one.ack()
                done += 1
                if done == MESSAGES:
                    break
        if kind == "classic":
            wait_until(lambda: stored(server.data) - before < backlog / 4, "the space to come back")
        return numbers(before, full, stored(server.data))


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue",
    default=True,
    holds=True,
    short="most of it",
    says="The folder had grown by {full} MB with the backlog. When all was acknowledged, {after} MB of them were left.",
)
def rabbitmq_classic(server: Server) -> Numbers:
    # A file has up to 16 MB, and goes when the next one is written to.
    found = asyncio.run(_work_off(server, "classic", size=10 * SIZE))
    assert came_back(found)
    return found


@trial(
    ASKED,
    "rabbitmq",
    "`x-queue-type: quorum`",
    holds=True,
    short="not at once",
    says="The folder had grown by {full} MB with the backlog, and {after} MB of them were left right after all was acknowledged: they are in the write-ahead log, of which a file is replaced when it is full.",
    documented=Documented(
        agrees=True,
        says="The quorum queues of a node share a write-ahead log; when its file reaches a limit, 512 MB by default, it is flushed to segment files.",
        source="https://www.rabbitmq.com/docs/quorum-queues",
    ),
)
def rabbitmq_quorum(server: Server) -> Numbers:
    found = asyncio.run(_work_off(server, "quorum"))
    assert not came_back(found)
    return found


@trial(
    ASKED,
    "rabbitmq",
    "`x-queue-type: stream`",
    holds=False,
    short="no",
    says="The folder had grown by {full} MB with the backlog, and {after} MB of them were left when all was acknowledged. Only retention deletes, and there is none by default.",
)
def rabbitmq_stream(server: Server) -> Numbers:
    found = asyncio.run(_work_off(server, "stream"))
    assert not came_back(found)
    return found


async def _commit(server: Server) -> Numbers:
    [place] = await kafka.create(server.address)
    before = stored(server.data)
    async with kafka.producing(server.address) as producer:
        for _ in range(MESSAGES):
            await producer.send_and_wait(kafka.TOPIC, os.urandom(SIZE))
    full = stored(server.data)
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        for _ in range(MESSAGES):
            await worker.getone()
        await worker.commit()
        assert await worker.committed(place) == MESSAGES
    return numbers(before, full, stored(server.data))


@trial(
    ASKED,
    "kafka",
    "`retention.ms` of 7 days",
    default=True,
    holds=True,
    short="later, by retention",
    says="The folder had grown by {full} MB with the backlog, and {after} MB of them were left when the group had committed the last offset. Retention deletes them later.",
)
def kafka_default(server: Server) -> Numbers:
    found = asyncio.run(_commit(server))
    assert not came_back(found)
    return found


async def _acknowledge(server: Server, retention: RetentionPolicy | None) -> Numbers:
    async with jetstream(server, stream=StreamConfig(retention=retention)) as context:
        worker = await nats.durable(context)
        before = stored(server.data)
        for _ in range(MESSAGES):
            await context.publish(nats.STREAM, os.urandom(SIZE))
        await comes(lambda: _is(stored(server.data) - before > 0.8 * BACKLOG))
        full = stored(server.data)
        for _ in range(MESSAGES // 50):
            for message in await nats.take(worker, 50):
                await message.ack_sync(timeout=60)
        if retention:
            await comes(lambda: _is(stored(server.data) - before < BACKLOG / 4))
        return numbers(before, full, stored(server.data))


async def _is(what: bool) -> bool:
    return what


@trial(
    ASKED,
    "nats",
    "`retention: limits`",
    default=True,
    holds=False,
    short="no",
    says="The folder had grown by {full} MB with the backlog, and {after} MB of them were left when all was acknowledged. Only a limit deletes, and there is none by default.",
    documented=Documented(
        agrees=True,
        says="Under `Limits`, the default, acknowledging has no effect on what the stream keeps; a limit decides, if one is set.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_limits(server: Server) -> Numbers:
    found = asyncio.run(_acknowledge(server, None))
    assert not came_back(found)
    return found


@trial(
    ASKED,
    "nats",
    "`retention: workqueue`",
    holds=True,
    short="yes",
    says="The folder had grown by {full} MB with the backlog. When all was acknowledged, {after} MB of them were left.",
)
def nats_work_queue(server: Server) -> Numbers:
    found = asyncio.run(_acknowledge(server, RetentionPolicy.WORK_QUEUE))
    assert came_back(found)
    return found


def _backlog(client: Any) -> list[str]:
    """Add a backlog; return the ids of its entries."""
    redis.grouped(client)
    # Text that a snapshot can't make smaller.
    bodies = (base64.b64encode(os.urandom(SIZE * 3 // 4)).decode() for _ in range(MESSAGES))
    return redis.add(client, *bodies)


def _acknowledge_all(client: Any, entries: list[str]) -> None:
    assert [entry for entry, _ in redis.read(client, count=MESSAGES)] == entries
    assert client.xack(redis.STREAM, redis.GROUP, *entries) == MESSAGES
    assert not redis.read(client)


@trial(
    ASKED,
    "redis",
    "`save`, no append-only file, `XACK`",
    default=True,
    holds=False,
    short="no",
    says="The snapshot had {full} MB more with the backlog, and the one that was written when all was acknowledged still had {after} MB more: `XACK` leaves the entries where they are, in memory and on the disk.",
)
def redis_xack(server: Server) -> Numbers:
    with server.another(Bare) as own, redis.connected(own) as client:
        before = stored(own.data)
        entries = _backlog(client)
        client.save()
        full = stored(own.data)
        _acknowledge_all(client, entries)
        client.save()
        found = numbers(before, full, stored(own.data))
    assert not came_back(found)
    return found


def _rewritten(client: Any) -> bool:
    told = client.info("persistence")
    return not (told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"])


@trial(
    ASKED,
    "redis",
    "`appendonly yes`, `XACK` and `XDEL`, then `BGREWRITEAOF`",
    holds=True,
    short="after a rewrite",
    says="The folder had grown by {full} MB with the backlog, and not become smaller when all was acknowledged and deleted. After `BGREWRITEAOF`, {after} MB of them were left.",
    documented=Documented(
        agrees=True,
        says="The append-only file grows with each write; Redis rewrites it in the background when it gets too big, with the shortest sequence of commands that makes the same data.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_rewrite(server: Server) -> Numbers:
    with redis.connected(server) as client:
        before = stored(server.data)
        entries = _backlog(client)
        wait_until(lambda: stored(server.data) - before > 0.8 * BACKLOG, "the backlog on the disk")
        full = stored(server.data)
        _acknowledge_all(client, entries)
        client.xdel(redis.STREAM, *entries)
        assert stored(server.data) >= full
        client.bgrewriteaof()
        wait_until(lambda: _rewritten(client), "the file to be rewritten")
        found = numbers(before, full, stored(server.data))
    assert came_back(found)
    return found


@trial(
    ASKED,
    "mqtt",
    "`persistence true`, a durable session, QoS 1",
    holds=True,
    short="yes",
    says="The file `mosquitto.db` had {full} MB with the backlog, and {after} MB when it was written again after all was acknowledged.",
)
def mqtt_saved(server: Server) -> Numbers:
    database = server.data / "mosquitto.db"

    def saved() -> int:
        database.unlink(missing_ok=True)
        assert server._process
        server._signal(signal.SIGUSR1, server._process.members())
        wait_until(database.exists, "the file to be written")
        return database.stat().st_size

    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    before = saved()
    with mqtt.session(server) as producer:
        for _ in range(MESSAGES):
            producer.publish("videos", os.urandom(SIZE))
    full = saved()
    with mqtt.session(server, "worker", expiry=3600) as worker:
        for number in range(MESSAGES):
            wait_until(lambda seen=number: len(worker.received) > seen, "a message")  # type: ignore[misc]
            worker.ack(worker.received[number])
        worker.settled()
    found = numbers(before, full, saved())
    assert came_back(found)
    return found


def _table(server: Server, last: str) -> tuple[Any, Numbers]:
    """Work off all but the last message, and clean up; return the table's megabytes."""
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        # As it comes, without compression.
        connection.execute("ALTER TABLE tasks ALTER body SET STORAGE PLAIN")

        def size() -> int:
            row = connection.execute("SELECT pg_total_relation_size('tasks')").fetchone()
            assert row
            return int(row[0])

        def fill() -> None:
            connection.execute(
                "INSERT INTO tasks (body) SELECT repeat(n::text, 1000)"
                " FROM generate_series(10000, 11500) n"
            )

        before = size()
        fill()
        full = size()
        connection.execute("DELETE FROM tasks WHERE id < (SELECT max(id) FROM tasks)")
        connection.execute(last)
        after = size()
        fill()
        again = size()
    assert full > 6 * MEGABYTE
    megabytes = {"full": full - before, "after": after - before, "again": again - before}
    return megabytes, {name: round(value / MEGABYTE, 1) for name, value in megabytes.items()}


@trial(
    ASKED,
    "postgresql",
    "`DELETE`, then `VACUUM`, as autovacuum does it",
    default=True,
    holds=True,
    short="no, but used again",
    says="The table had {full} MB with the backlog. When all but the newest message was deleted and `VACUUM` had run, it still had {after} MB, and {again} MB when as much again was published: the space was used again, and not given back.",
    documented=Documented(
        agrees=True,
        says="Plain `VACUUM` makes space available for use in the same table, and in most cases does not return it to the operating system, except when whole pages at the end of the table are free.",
        source="https://www.postgresql.org/docs/18/sql-vacuum.html",
    ),
)
def postgresql_vacuum(server: Server) -> Numbers:
    found, told = _table(server, "VACUUM tasks")
    assert found["after"] > 0.9 * found["full"]
    assert found["again"] < 1.2 * found["full"]
    return told


@trial(
    ASKED,
    "postgresql",
    "`DELETE`, then `VACUUM FULL`",
    holds=True,
    short="yes",
    says="The table had {full} MB with the backlog, and {after} MB when all but the newest message was deleted and `VACUUM FULL` had run. It locks the table meanwhile. When as much again was published, it had {again} MB.",
    documented=Documented(
        agrees=True,
        says="`VACUUM FULL` writes the table anew, without dead rows, and needs an exclusive lock on it.",
        source="https://www.postgresql.org/docs/18/sql-vacuum.html",
    ),
)
def postgresql_vacuum_full(server: Server) -> Numbers:
    found, told = _table(server, "VACUUM FULL tasks")
    assert found["after"] < found["full"] / 4
    return told
