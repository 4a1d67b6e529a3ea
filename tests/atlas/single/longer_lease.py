"""Work takes longer than the lease: can a worker ask for more time?"""

from __future__ import annotations

import asyncio
import time

import nats
import redis
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiokafka.errors import CommitFailedError
from nats.js.api import ConsumerConfig

from tests.atlas.single import with_kafka, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, cannot, trial
from tests.atlas.single.worker_hangs import QUICK, keeps_it
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

ASKED = "longer-lease"
#: A lease, how long the work takes, and how often it is renewed, in seconds. A machine that stands
#: still for as long as a lease would break one that is shorter.
LEASE, WORK, RENEW = 4, 9, 0.25


@trial(
    ASKED,
    "rabbitmq",
    "classic queue, `consumer_timeout` 1 s instead of 30 min",
    default=True,
    holds=True,
    short="no need",
    says="A classic queue had no lease: the worker kept the message for more than three times as long as the time-out, and acknowledged it.",
    documented=Documented(
        agrees=True,
        says="Since 4.3, the time-out is only supported by quorum queues.",
        source="https://www.rabbitmq.com/docs/4.3/consumers#acknowledgement-timeout",
    ),
)
def rabbitmq_classic(server: Server) -> Numbers:
    keeps_it(server)
    return {}


async def _consumed(queue: AbstractQueue) -> asyncio.Queue[AbstractIncomingMessage]:
    taken = asyncio.Queue[AbstractIncomingMessage]()
    await queue.consume(taken.put)
    return taken


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, policy `consumer-timeout` raised from 3 s to 1 h meanwhile",
    holds=False,
    short="not for this one",
    says="AMQP 0-9-1 has no call that asks for more time. An operator raised the limit for the queue while the worker was at work; another consumer got its message all the same, {again} s after it had been published. What was delivered from then on had the new limit.",
)
def rabbitmq_policy(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)

    def allow(milliseconds: int) -> None:
        limit = {"consumer-timeout": milliseconds}
        body = {"pattern": "^videos$", "definition": limit, "apply-to": "quorum_queues"}
        server.ask("policies/%2F/limit", "PUT", body)
        wait_until(
            lambda: server.ask("queues/%2F/videos").get("effective_policy_definition") == limit,
            "the policy to reach the queue",
        )

    async def proof() -> float:
        async with (
            with_rabbitmq.opened(server.address) as slow,
            with_rabbitmq.opened(server.address) as other,
        ):
            queue = await with_rabbitmq.declare(slow, "quorum")
            late = await with_rabbitmq.declare(slow, "quorum", "clock", x_consumer_timeout=4000)
            await asyncio.to_thread(allow, 3000)
            held, began = await _consumed(queue), time.monotonic()
            await with_rabbitmq.publish(slow, [0])
            await asyncio.wait_for(held.get(), SECONDS)
            await asyncio.to_thread(allow, 3_600_000)
            others = await _consumed(await other.get_queue(queue.name))
            await asyncio.wait_for(others.get(), SECONDS)
            again = time.monotonic() - began
            # The other one holds it under the new limit for longer than the old one.
            ticks = await _consumed(late)
            await with_rabbitmq.publish(slow, [0], late.name)
            await asyncio.wait_for(ticks.get(), SECONDS)
            held = await _consumed(await slow.get_queue(queue.name))
            ticks = await _consumed(await other.get_queue(late.name))
            await asyncio.wait_for(ticks.get(), SECONDS)
            assert held.empty()
            return again

    try:
        again = asyncio.run(proof())
    finally:
        server.ask("policies/%2F/limit", "DELETE")
    return {"again": again}


async def _kafka(server: Server, *, pauses: bool) -> tuple[bool, bool]:
    """Tell whether another one gets what a worker holds, and whether its commit is refused."""
    address, early = server.address, {"auto_offset_reset": "earliest"}
    settings = {"enable_auto_commit": False, **QUICK}
    limit = 1000 * LEASE
    await with_kafka.create(address, partitions=2)
    async with (
        with_kafka.consuming(address, **early, **settings, max_poll_interval_ms=limit) as slow,
        with_kafka.consuming(address, **early, **settings) as other,
    ):
        waits = asyncio.create_task(slow.getone())

        async def shared() -> bool:
            return len(slow.assignment()) == len(other.assignment()) == 1

        await comes(shared)
        [place] = slow.assignment()
        await with_kafka.publish(address, [0, 1], partitions=2)
        held = await asyncio.wait_for(waits, SECONDS)
        until = time.monotonic() + WORK
        got: list[int] = []
        if pauses:
            slow.pause(place)
        while time.monotonic() < until:
            if pauses:
                assert not await slow.getmany(timeout_ms=int(1000 * RENEW))
            records = await other.getmany(timeout_ms=int(1000 * RENEW))
            got += [one.partition for ones in records.values() for one in ones]
        try:
            await slow.commit({place: held.offset + 1})
        except CommitFailedError:
            return place.partition in got, True
        return place.partition in got, False


@trial(
    ASKED,
    "kafka",
    "`getone()`, `max_poll_interval_ms=4000` instead of 300000",
    default=True,
    holds=False,
    short="done twice",
    says="The client left the group, and another worker got the same record while the first one was at work. When that one committed, it was told so: `CommitFailedError`.",
    documented=Documented(
        agrees=True,
        says="If the group rebalances while a batch is processed, the commit fails with `CommitFailedError`, as another consumer may have processed it already.",
        source="https://aiokafka.readthedocs.io/en/stable/consumer.html#manual-vs-automatic-committing",
    ),
)
def kafka_no_poll(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, pauses=False)) == (True, True)
    return {}


@trial(
    ASKED,
    "kafka",
    "`pause()` and `getmany()` meanwhile, `max_poll_interval_ms=4000`",
    holds=True,
    short="yes, by polling",
    says="The worker paused its partition and went on asking for records while it was at work. It got none, kept the partition for more than twice the time, and its commit was accepted.",
)
def kafka_pause(server: Server) -> Numbers:
    assert asyncio.run(_kafka(server, pauses=True)) == (False, False)
    return {}


async def _nats(server: Server, *, renews: bool) -> int:
    """Return how often the message had been delivered when its work was done."""
    async with jetstream(server) as stream, await nats.connect(server.address) as connection:
        config = ConsumerConfig(ack_wait=LEASE if renews else 1)
        slow = await stream.pull_subscribe("videos", durable="workers", config=config)
        other = await connection.jetstream().pull_subscribe_bind("workers", "videos")
        await stream.publish("videos", b"0")
        [held] = await slow.fetch(1, timeout=SECONDS)
        wanted = asyncio.create_task(other.fetch(1, timeout=SECONDS))
        until = time.monotonic() + WORK
        while renews and time.monotonic() < until:
            await held.in_progress()
            await asyncio.sleep(RENEW)
        if renews:
            await held.ack_sync()
            await stream.publish("videos", b"1")
        [message] = await wanted
        assert message.data == (b"1" if renews else b"0")
        if not renews:
            await held.ack_sync()
        return int(message.metadata.num_delivered)


@trial(
    ASKED,
    "nats",
    "`ack_wait` 1 s instead of 30 s",
    default=True,
    holds=False,
    short="done twice",
    says="Another worker got the same message while the first one was at work. That one's acknowledgement came too late, and was accepted.",
    documented=Documented(
        agrees=True,
        says="If work takes longer than `AckWait` and the worker sends no in-progress, the message is delivered again, and two workers do it.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_no_renewal(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, renews=False)) == 2
    return {}


@trial(
    ASKED,
    "nats",
    "`in_progress()` meanwhile, `ack_wait` 4 s",
    holds=True,
    short="yes: `in_progress()`",
    says="Each `in_progress()` began the time anew: the worker kept the message for more than twice `ack_wait`, and another one, which asked all the time, got only the next.",
    documented=Documented(
        agrees=True,
        says="An in-progress answer resets the timer of `AckWait`.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_in_progress(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, renews=True)) == 1
    return {}


def _redis(server: Server, *, renews: bool) -> list[bytes]:
    """Return what another worker claims of one that has been at work for an hour."""
    with redis.Redis.from_url(server.address) as client:
        client.xgroup_create("videos", "workers", "0", mkstream=True)
        held = client.xadd("videos", {"number": 0})
        client.xreadgroup("workers", "A", {"videos": ">"})
        hour = 3_600_000
        client.xclaim("videos", "workers", "A", 0, [held], idle=hour, justid=True)
        if renews:
            client.xclaim("videos", "workers", "A", 0, [held], justid=True)
        claimed = client.xautoclaim("videos", "workers", "B", hour)[1]
        owner = client.xpending_range("videos", "workers", "-", "+", 1)[0]
        assert owner["consumer"] == (b"A" if renews else b"B")
        assert owner["times_delivered"] == (1 if renews else 2)
        return [number for number, _ in claimed]


@trial(
    ASKED,
    "redis",
    "`XAUTOCLAIM` by other workers",
    default=True,
    holds=False,
    short="done twice",
    says="Another worker claimed the message while the first one, which had had it for longer than `min-idle-time`, was still at work. That one was not told.",
)
def redis_no_renewal(server: Server) -> Numbers:
    assert len(_redis(server, renews=False)) == 1
    return {}


@trial(
    ASKED,
    "redis",
    "`XCLAIM … JUSTID` by the worker itself",
    holds=True,
    short="yes: `XCLAIM`",
    says="The worker claimed its own message, which set its idle time to 0 and did not count as a delivery. Another worker's `XAUTOCLAIM` got nothing.",
    documented=Documented(
        agrees=True,
        says="`XCLAIM` resets the idle time, and with `JUSTID` it does not increment the count of deliveries.",
        source="https://redis.io/docs/latest/commands/xclaim/",
    ),
)
def redis_xclaim(server: Server) -> Numbers:
    assert _redis(server, renews=True) == []
    return {}


cannot(
    ASKED,
    "mqtt",
    "MQTT has no lease: a message is the worker's for as long as its session exists, so there is nothing to ask for, and nobody notices a worker that hangs. People let a worker limit its own work, and disconnect when it takes too long.",
)


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, one open transaction",
    default=True,
    holds=True,
    short="no need",
    says="There is no lease. The row was the worker's until its transaction ended; another worker found nothing.",
)
def postgresql_open_transaction(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as slow,
        with_postgresql.connect(server) as other,
    ):
        with_postgresql.declare(slow)
        with_postgresql.publish(slow, "0")
        with slow.transaction():
            taken = with_postgresql.take(slow)
            assert taken
            assert with_postgresql.work(other) is None
            with_postgresql.acknowledge(slow, taken[0])
        assert with_postgresql.waiting(other) == []
    return {}


@trial(
    ASKED,
    "postgresql",
    "`SELECT 1` meanwhile, `idle_in_transaction_session_timeout` 4 s",
    holds=True,
    short="yes, by any statement",
    says="Each statement in the transaction began the time anew: the worker kept the row for more than twice the time-out, and its commit was accepted.",
    documented=Documented(
        agrees=True,
        says="It ends a session that has waited for a query of its client within a transaction for longer.",
        source="https://www.postgresql.org/docs/18/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT",
    ),
)
def postgresql_select(server: Server) -> Numbers:
    with (
        with_postgresql.connect(server) as slow,
        with_postgresql.connect(server) as other,
    ):
        with_postgresql.declare(slow)
        with_postgresql.publish(slow, "0")
        slow.execute(f"SET idle_in_transaction_session_timeout = '{LEASE}s'")
        with slow.transaction():
            taken = with_postgresql.take(slow)
            assert taken
            until = time.monotonic() + WORK
            while time.monotonic() < until:
                slow.execute("SELECT 1")
                assert with_postgresql.work(other) is None
                time.sleep(RENEW)
            with_postgresql.acknowledge(slow, taken[0])
        assert with_postgresql.waiting(other) == []
    return {}


TAKE = """
UPDATE tasks SET worker = %(worker)s, taken_until = clock_timestamp() + '1 h' WHERE id = (
  SELECT id FROM tasks WHERE taken_until < clock_timestamp()
  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id"""
RENEWED = """
UPDATE tasks SET taken_until = clock_timestamp() + '1 h' WHERE worker = %(worker)s RETURNING id"""


@trial(
    ASKED,
    "postgresql",
    "columns `worker` and `taken_until`, moved on by the worker",
    holds=True,
    short="yes: `UPDATE`",
    says="The worker moved the time in its row on, and another one found nothing. Once the time was over and another one had the row, the same `UPDATE` changed no row, which told the first worker.",
)
def postgresql_lease(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute(
            "ALTER TABLE tasks ADD taken_until timestamptz DEFAULT '-infinity', ADD worker text"
        )
        with_postgresql.publish(connection, "0")

        def does(statement: str, worker: str) -> bool:
            return connection.execute(statement, {"worker": worker}).fetchone() is not None

        def time_passes(interval: str) -> None:
            connection.execute(
                "UPDATE tasks SET taken_until = taken_until - %s::interval", [interval]
            )

        assert does(TAKE, "A")
        time_passes("59 min")
        assert does(RENEWED, "A")
        time_passes("59 min")
        assert not does(TAKE, "B")
        time_passes("2 min")
        assert does(TAKE, "B")
        assert not does(RENEWED, "A")
    return {}
