"""A second worker joins: what becomes of the messages that wait?"""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import psycopg
import pytest
import redis
from aio_pika.abc import AbstractIncomingMessage

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.server import wait_until

ASKED = "second-worker"
NUMBERS = range(10)
NEXT = "The second worker had the next message at once, while the first one was at work."


async def _rabbitmq(server: Server, prefetch: int) -> tuple[int, int]:
    """Return how many messages the first worker has, and what the second one gets first."""
    async with (
        with_rabbitmq.opened(server.address, prefetch) as first,
        with_rabbitmq.opened(server.address, prefetch) as second,
    ):
        queue = await with_rabbitmq.declare(first)
        await with_rabbitmq.publish(first, NUMBERS)
        has = prefetch or len(NUMBERS)
        taken = asyncio.Queue[AbstractIncomingMessage]()
        await queue.consume(taken.put)

        async def has_them() -> bool:
            return taken.qsize() == has

        await comes(has_them)
        others = asyncio.Queue[AbstractIncomingMessage]()
        await (await second.get_queue(queue.name)).consume(others.put)
        # The second one is there, and more come, which both get in turn.
        await with_rabbitmq.publish(second, range(10, 14))
        return has, int((await asyncio.wait_for(others.get(), SECONDS)).body)


@trial(
    ASKED,
    "rabbitmq",
    "no prefetch limit",
    default=True,
    holds=False,
    short="the first has all {has}",
    says="All {has} were in the first worker's memory already. The second one got none of them, and only what was published afterwards.",
    documented=Documented(
        agrees=True,
        says="A prefetch of 0 means no limit to the number of unacknowledged messages.",
        source="https://www.rabbitmq.com/docs/4.3/confirms#channel-qos-prefetch",
    ),
)
def rabbitmq_no_limit(server: Server) -> Numbers:
    has, came = asyncio.run(_rabbitmq(server, 0))
    assert came >= len(NUMBERS)
    return {"has": has}


@trial(
    ASKED,
    "rabbitmq",
    "`prefetch_count=1`",
    holds=True,
    short="shared at once",
    says=NEXT,
)
def rabbitmq_prefetch(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, 1)) == (1, 1)
    return {}


@trial(
    ASKED,
    "kafka",
    "one partition, the server's default",
    default=True,
    holds=False,
    short="one has all",
    says="One partition has one reader in a group: after the second worker had joined, one of them had all {waited} records that waited, and the other none.",
)
def kafka_one_partition(server: Server) -> Numbers:
    async def proof() -> int:
        address, early = server.address, {"auto_offset_reset": "earliest"}
        # What a producer publishes to a topic that is not there makes one, as configured.
        async with with_kafka.producing(address) as producer:
            for number in NUMBERS:
                await producer.send_and_wait(with_kafka.TOPIC, b"%d" % number)
        settings: dict[str, Any] = {"enable_auto_commit": False, "max_poll_records": 1}
        async with with_kafka.consuming(address, **early, **settings) as first:
            record = await asyncio.wait_for(first.getone(), SECONDS)
            await first.commit()
            async with with_kafka.consuming(address, **early, **settings) as second:
                found: dict[str, list[int]] = {"first": [], "second": []}
                async with asyncio.timeout(SECONDS):
                    while len({*found["first"], *found["second"]}) < len(NUMBERS) - 1:
                        for name, worker in (("first", first), ("second", second)):
                            got = await worker.getmany(timeout_ms=200)
                            found[name] += [int(one.value) for ones in got.values() for one in ones]
        assert record.value == b"0"
        assert sorted(map(bool, found.values())) == [False, True]
        return len(NUMBERS) - 1

    return {"waited": asyncio.run(proof())}


@trial(
    ASKED,
    "kafka",
    "two partitions, a commit after all",
    holds=False,
    short="a partition moves, {done} twice",
    says="One of the two partitions went over to the second worker. It began at the offset that was committed: the {done} records of it that the first one had taken and not yet committed came to the second one as well.",
)
def kafka_commit_after_all(server: Server) -> Numbers:
    before, after = asyncio.run(_two_partitions(server, len(NUMBERS), commits=False))
    assert sorted(before) == [*NUMBERS]
    again = [number for number in after if number % 2 == after[0] % 2]
    assert sorted(again) == [number for number in NUMBERS if number % 2 == after[0] % 2]
    return {"done": len(again)}


@trial(
    ASKED,
    "kafka",
    "two partitions, a commit after each record",
    holds=True,
    short="a partition moves",
    says="One of the two partitions went over to the second worker, and each of the {waited} records that waited was done once.",
)
def kafka_commit_after_each(server: Server) -> Numbers:
    before, after = asyncio.run(_two_partitions(server, 4, commits=True))
    assert sorted(before + after) == [*NUMBERS]
    return {"waited": len(after)}


async def _two_partitions(
    server: Server, takes: int, *, commits: bool
) -> tuple[list[int], list[int]]:
    """Return what the first worker takes alone, and what comes when the second one is there.

    Without commits, that is what comes to the second one.
    """
    address, early = server.address, {"auto_offset_reset": "earliest"}
    await with_kafka.create(address, partitions=2)
    await with_kafka.publish(address, NUMBERS, partitions=2)
    settings: dict[str, Any] = {"enable_auto_commit": False}
    before: list[int] = []
    after: list[int] = []
    async with with_kafka.consuming(address, **early, **settings) as first:
        for _ in range(takes):
            record = await asyncio.wait_for(first.getone(), SECONDS)
            before.append(int(record.value))
            if commits:
                await first.commit()
        async with with_kafka.consuming(address, **early, **settings) as second:

            async def shared() -> bool:
                return len(first.assignment()) == len(second.assignment()) == 1

            await comes(shared)
            workers = (first, second) if commits else (second,)
            expected = len(NUMBERS) - takes if commits else len(NUMBERS) // 2
            async with asyncio.timeout(SECONDS):
                while len(after) < expected:
                    for worker in workers:
                        got = await worker.getmany(timeout_ms=200)
                        after += [int(one.value) for ones in got.values() for one in ones]
    return before, after


async def _nats(server: Server, batch: int) -> int:
    """Return what the second worker gets first."""
    async with jetstream(server) as stream, await nats.connect(server.address) as connection:
        for number in NUMBERS:
            await stream.publish("videos", b"%d" % number)
        first = await stream.pull_subscribe("videos", durable="workers")
        assert len(await first.fetch(batch, timeout=SECONDS)) == batch
        second = await connection.jetstream().pull_subscribe_bind("workers", "videos")
        await stream.publish("videos", b"%d" % len(NUMBERS))
        [message] = await second.fetch(1, timeout=SECONDS)
        return int(message.data)


@trial(
    ASKED,
    "nats",
    "pull consumer, `fetch(1)`, nats-py's default",
    default=True,
    holds=True,
    short="shared at once",
    says=NEXT,
)
def nats_fetch_one(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, 1)) == 1
    return {}


@trial(
    ASKED,
    "nats",
    "pull consumer, `fetch(10)`",
    holds=False,
    short="the first has all {has}",
    says="The first worker had all {has}, each with its `ack_wait` running. The second one got only what was published afterwards.",
)
def nats_fetch_ten(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, len(NUMBERS))) == len(NUMBERS)
    return {"has": len(NUMBERS)}


def _redis(server: Server, count: int | None) -> int:
    """Return what the second worker gets first."""
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        for number in NUMBERS:
            client.xadd("videos", {"number": number})
        client.xreadgroup("workers", "A", {"videos": ">"}, count=count)
        client.xadd("videos", {"number": len(NUMBERS)})
        [(_, entries)] = client.xreadgroup("workers", "B", {"videos": ">"}, count=1)
        return int(entries[0][1][b"number"])


@trial(
    ASKED,
    "redis",
    "`XREADGROUP` without `COUNT`",
    default=True,
    holds=False,
    short="the first has all {has}",
    says="All {has} belonged to the first worker already. The second one got only what was added afterwards.",
)
def redis_no_count(server: Server) -> Numbers:
    assert _redis(server, None) == len(NUMBERS)
    return {"has": len(NUMBERS)}


@trial(
    ASKED,
    "redis",
    "`XREADGROUP … COUNT 1`",
    holds=True,
    short="shared at once",
    says=NEXT,
)
def redis_count(server: Server) -> Numbers:
    assert _redis(server, 1) == 1
    return {}


def _mqtt(server: Server, prefetch: int) -> int:
    """Return how many of those that wait the first worker gets in the end, and none the second."""
    shared = "$share/workers/videos"
    with (
        with_mqtt.session(server, "A", expiry=3600, prefetch=prefetch) as first,
        with_mqtt.session(server, "B", expiry=3600, prefetch=prefetch) as second,
    ):
        first.subscribe(shared)
        for number in NUMBERS:
            second.publish("videos", str(number))
        second.subscribe(shared)
        for number in range(10, 12):
            second.publish("videos", str(number))
        wait_until(lambda: bool(second.received), "the second worker to get a message")
        done = 0
        while done < len(NUMBERS):
            wait_until(lambda: len(first.received) > done, "the first worker's next message")  # noqa: B023
            first.ack(first.received[done])
            done += 1
        assert [int(body) for body in first.bodies()[:10]] == [*NUMBERS]
        assert not {*second.bodies()} & {str(number) for number in NUMBERS}
        return done


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `$share`",
    default=True,
    holds=False,
    short="the first has all {has}",
    says="The server had given all {has} to the first worker's session when they were published. The second one got only what was published afterwards.",
)
def mqtt_shared(server: Server) -> Numbers:
    return {"has": _mqtt(server, 0)}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `$share`, Receive Maximum 1",
    holds=False,
    short="the first has all {has}",
    says="The limit left nine messages on the server, but in the first worker's session: it worked off all {has}, one by one, and the second one got only what was published afterwards.",
)
def mqtt_receive_maximum(server: Server) -> Numbers:
    return {"has": _mqtt(server, 1)}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, one row at a time",
    default=True,
    holds=True,
    short="shared at once",
    says=NEXT,
    documented=Documented(
        agrees=True,
        says="With `SKIP LOCKED`, rows that can't be locked at once are skipped; it is there for several consumers of a table that is used like a queue.",
        source="https://www.postgresql.org/docs/18/sql-select.html#SQL-FOR-UPDATE-SHARE",
    ),
)
def postgresql_skip_locked(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as first,
        with_postgresql.connect(server) as second,
    ):
        with_postgresql.declare(first)
        with_postgresql.publish(first, *map(str, NUMBERS))
        with first.transaction():
            assert (with_postgresql.take(first) or (0, ""))[1] == "0"
            assert with_postgresql.work(second) == "1"
    return {}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE`, without `SKIP LOCKED`",
    holds=False,
    short="it waits",
    says="The second worker waited for the row that the first one had locked, until its `lock_timeout` ended the statement, while nine others were free.",
)
def postgresql_for_update(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as first,
        with_postgresql.connect(server) as second,
    ):
        with_postgresql.declare(first)
        with_postgresql.publish(first, *map(str, NUMBERS))
        take = with_postgresql.TAKE.removesuffix(" SKIP LOCKED")
        second.execute("SET lock_timeout = '300ms'")
        with first.transaction():
            first.execute(take)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                second.execute(take)
        assert second.execute(take).fetchone() == (1, "0")
    return {}
