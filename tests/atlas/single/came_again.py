"""A message fails and comes again: before or after those that came later?"""

from __future__ import annotations

import asyncio

from aio_pika.abc import AbstractIncomingMessage

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

ASKED = "came-again"
IN_ORDER = [0, 1, 2, 3, 4]
FIRST_IS_LAST = [1, 2, 3, 4, 0]
AT_ONCE, AFTER = "at once, in order", "after the others"


async def _rabbitmq(server: Server, prefetch: int = 0, kind: str = "classic") -> list[int]:
    """Give the first message back when all that may come have come; return what was done."""
    came: list[AbstractIncomingMessage] = []
    done: list[int] = []

    async def take(message: AbstractIncomingMessage) -> None:
        came.append(message)

    async with with_rabbitmq.opened(server.address, prefetch) as channel:
        queue = await with_rabbitmq.declare(channel, kind)
        await with_rabbitmq.publish(channel, IN_ORDER)
        await queue.consume(take)

        async def have_come(number: int) -> None:
            async def so_many() -> bool:
                return len(came) >= number

            await comes(so_many)

        await have_come(prefetch or len(IN_ORDER))
        await came[0].nack(requeue=True)
        for number in range(1, len(IN_ORDER) + 1):
            await have_come(number + 1)
            await came[number].ack()
            done.append(int(came[number].body))
    return done


@trial(
    ASKED,
    "rabbitmq",
    "`basic.nack` with `requeue`, no prefetch limit",
    default=True,
    holds=False,
    short=AFTER,
    says="The worker had all five in hand when it gave the first back, and got it again after the others.",
    documented=Documented(
        agrees=True,
        says="A requeued message is put at its original place in the queue, if possible.",
        source="https://www.rabbitmq.com/docs/confirms#consumer-nacks-requeue",
    ),
)
def rabbitmq_no_prefetch(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server)) == FIRST_IS_LAST
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`basic.nack` with `requeue`, `prefetch_count=1`",
    holds=True,
    short=AT_ONCE,
    says="The message came again at once, before those that waited in the queue.",
    documented=Documented(
        agrees=True,
        says="A requeued message is put at its original place in the queue, if possible.",
        source="https://www.rabbitmq.com/docs/confirms#consumer-nacks-requeue",
    ),
)
def rabbitmq_prefetch_1(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, prefetch=1)) == IN_ORDER
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.nack` with `requeue`, `prefetch_count=1`",
    holds=True,
    short=AT_ONCE,
    says="The message came again at once, before those that waited in the queue.",
    documented=Documented(
        agrees=True,
        says="With a delivery limit, messages are requeued at the front of a quorum queue.",
        source="https://www.rabbitmq.com/docs/queues#message-ordering",
    ),
)
def rabbitmq_quorum(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, prefetch=1, kind="quorum")) == IN_ORDER
    return {}


@trial(
    ASKED,
    "kafka",
    "a consumer group, with its commits after work or by the client",
    default=True,
    holds=False,
    short="never",
    says="A record can't be given back alone: the worker went on, the commit of a later one covered the failed one, and the group never got that again.",
    documented=Documented(
        agrees=True,
        says="A consumer's position in a partition is one number, the offset of the next message.",
        source="https://kafka.apache.org/44/design/design/#consumer-position",
    ),
)
def kafka_goes_on(server: Server) -> Numbers:
    async def proof() -> tuple[list[int], int | None, list[int]]:
        [place] = await with_kafka.create(server.address)
        await with_kafka.publish(server.address, IN_ORDER)
        async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
            came = [int((await worker.getone()).value) for _ in IN_ORDER]
            failed = came.pop(0)
            await worker.commit()
            committed = await worker.committed(place)
        await with_kafka.publish(server.address, [5])
        async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as other:
            rest = [int((await other.getone()).value)]
        assert failed == 0
        return came, committed, rest

    assert asyncio.run(proof()) == ([1, 2, 3, 4], 5, [5])
    return {}


@trial(
    ASKED,
    "kafka",
    "`consumer.seek()` back to the record that failed",
    holds=True,
    short=AT_ONCE,
    says="The record came again at once, before the others, which its worker had to wait for.",
    documented=Documented(
        agrees=True,
        says="A consumer can rewind to an old offset, and consume again.",
        source="https://kafka.apache.org/44/design/design/#consumer-position",
    ),
)
def kafka_seek(server: Server) -> Numbers:
    async def proof() -> list[int]:
        [place] = await with_kafka.create(server.address)
        await with_kafka.publish(server.address, IN_ORDER)
        done: list[int] = []
        async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
            failed = await worker.getone()
            assert int(failed.value) == 0
            worker.seek(place, failed.offset)
            while len(done) < len(IN_ORDER):
                record = await worker.getone()
                done.append(int(record.value))
                await worker.commit({place: record.offset + 1})
        return done

    assert asyncio.run(proof()) == IN_ORDER
    return {}


async def _nats(server: Server, batch: int, **options: int) -> list[int]:
    """Give the first message back while the worker has so many in hand; return what was done."""
    async with jetstream(server) as stream:
        await with_nats.publish(stream, *IN_ORDER)
        worker = await with_nats.durable(stream, **options)
        failed, *hand = await with_nats.take(worker, batch)
        # Where it has a reply subject, the server answers a nak as well, when it has taken it.
        await stream._nc.request(failed.reply, b"-NAK", timeout=30)
        done: list[int] = []
        while len(done) < len(IN_ORDER):
            [message] = [hand.pop(0)] if hand else await with_nats.take(worker)
            await message.ack_sync()
            done.append(int(message.data))
        return done


@trial(
    ASKED,
    "nats",
    "`nak()`, `fetch(1)`",
    default=True,
    holds=True,
    short=AT_ONCE,
    says="The message came again at once, before those that waited in the stream.",
    documented=Documented(
        agrees=True,
        says="A `nak` without a delay asks for redelivery right away.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_nak(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, 1)) == IN_ORDER
    return {}


@trial(
    ASKED,
    "nats",
    "`nak()`, `fetch(5)`",
    holds=False,
    short=AFTER,
    says="The worker had all five in hand when it gave the first back, and got it again after the others.",
)
def nats_nak_of_a_batch(server: Server) -> Numbers:
    assert asyncio.run(_nats(server, 5)) == FIRST_IS_LAST
    return {}


@trial(
    ASKED,
    "redis",
    "`XREADGROUP … >` for new entries, `XAUTOCLAIM` for what failed",
    default=True,
    holds=False,
    short=AFTER,
    says="An entry can't be given back: it stayed with its worker, which got the others, and came again only when it was claimed.",
    documented=Documented(
        agrees=True,
        says="A pending message stays with its consumer until another one claims it.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_claimed(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, *IN_ORDER)
        [failed] = with_redis.read(client)
        done = with_redis.read(client, count=len(IN_ORDER))
        assert failed not in done
        _, claimed, _ = client.xautoclaim(with_redis.STREAM, with_redis.GROUP, "A", 0, failed[0])
        assert next(number for number, _ in claimed) == failed[0]
        for number, _ in done:
            assert client.xack(with_redis.STREAM, with_redis.GROUP, number) == 1
        done += with_redis.read(client, start="0", count=len(IN_ORDER))
    assert [int(body) for _, body in done] == FIRST_IS_LAST
    return {}


@trial(
    ASKED,
    "redis",
    "`XREADGROUP … 0`, what the worker has already, before each `XREADGROUP … >`",
    holds=True,
    short=AT_ONCE,
    says="The entry came again at once, before the others, which waited in the stream.",
    documented=Documented(
        agrees=True,
        says="With any id but `>`, `XREADGROUP` returns the consumer's own pending entries.",
        source="https://redis.io/docs/latest/commands/xreadgroup/",
    ),
)
def redis_own_entries_first(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, *IN_ORDER)
        assert [body for _, body in with_redis.read(client)] == ["0"]  # it fails
        done: list[int] = []
        for _ in IN_ORDER:
            [(number, body)] = with_redis.read(client, start="0") or with_redis.read(client)
            assert client.xack(with_redis.STREAM, with_redis.GROUP, number) == 1
            done.append(int(body))
    assert done == IN_ORDER
    return {}


def _mqtt(server: Server, prefetch: int = 0) -> list[int]:
    """Don't acknowledge the first message, work on, and take the session up again; return it."""
    with (
        with_mqtt.session(server, "worker", expiry=600, prefetch=prefetch) as worker,
        with_mqtt.session(server) as producer,
    ):
        worker.subscribe("videos")
        for number in IN_ORDER:
            producer.publish("videos", str(number))
        came = IN_ORDER[:prefetch] if prefetch else IN_ORDER
        worker.comes(*map(str, came))
        for message in worker.received[1:]:
            worker.ack(message)
        worker.settled()
        assert len(worker.received) == len(came)
        done = [int(message.payload) for message in worker.received[1:]]
    with with_mqtt.session(server, "worker", expiry=600, prefetch=prefetch) as worker:
        rest = [number for number in IN_ORDER if number not in done]
        for place in range(len(rest)):
            worker.comes(*map(str, rest[: place + 1]))
            message = worker.received[place]
            assert message.dup == (place == 0)
            worker.ack(message)
            done.append(int(message.payload))
        worker.settled()
    return done


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1; the worker connects again",
    default=True,
    holds=False,
    short="after the others, on reconnecting",
    says="A message can't be given back: the others came meanwhile, and the one that was not acknowledged came again only on the session's next connection, marked as a duplicate.",
    documented=Documented(
        agrees=True,
        says="MQTT-4.4.0-1: when a session goes on, what is not acknowledged has to be sent again, and at no other time.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901238",
    ),
)
def mqtt_connects_again(server: Server) -> Numbers:
    assert _mqtt(server) == FIRST_IS_LAST
    return {}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1, `Receive Maximum` of 1; the worker connects again",
    holds=True,
    short="on reconnecting, in order",
    says="Nothing else came while it was not acknowledged; on the session's next connection it came again, before the others.",
    documented=Documented(
        agrees=True,
        says="Where client and server both use a Receive Maximum of 1, no message of QoS 1 is received after a later one, also after a new connection (4.6).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901240",
    ),
)
def mqtt_receive_maximum(server: Server) -> Numbers:
    assert _mqtt(server, prefetch=1) == IN_ORDER
    return {}


@trial(
    ASKED,
    "postgresql",
    "`ORDER BY id … FOR UPDATE SKIP LOCKED`, `ROLLBACK`",
    default=True,
    holds=True,
    short=AT_ONCE,
    says="The row was free at once, and its worker got it again before the others.",
)
def postgresql_rollback(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, *map(str, IN_ORDER))
        connection.execute("BEGIN")
        taken = with_postgresql.take(connection)
        assert taken
        assert taken[1] == "0"
        connection.execute("ROLLBACK")
        done = [with_postgresql.work(connection) for _ in IN_ORDER]
    assert done == [str(number) for number in IN_ORDER]
    return {}
