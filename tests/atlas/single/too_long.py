"""The queue reaches its greatest length."""

from __future__ import annotations

import asyncio
from typing import Any

from aio_pika.exceptions import DeliveryError
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError

from tests.atlas.single import configured, with_kafka, with_postgresql, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.atlas.single.with_nats import STREAM as SUBJECT
from tests.atlas.single.with_nats import there
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream

ASKED = "too-long"
MOST, PUBLISHED = 10, 15
LAST = [*range(PUBLISHED - MOST, PUBLISHED)]
FIRST = [*range(MOST)]


async def _publish_to(server: Server, **arguments: Any) -> tuple[int, list[int]]:
    """Publish to a queue of RabbitMQ's; return how many were confirmed, and what is there."""
    confirmed = 0
    async with with_rabbitmq.opened(server.address) as channel:
        queue = await with_rabbitmq.declare(channel, **arguments)
        for number in range(PUBLISHED):
            try:
                await with_rabbitmq.publish(channel, [number])
            except DeliveryError:
                continue
            confirmed += 1
        return confirmed, await with_rabbitmq.rest(queue)


@trial(
    ASKED,
    "rabbitmq",
    "`x-max-length: 10`, `x-overflow: drop-head`",
    holds=False,
    short="{dropped} confirmed and dropped",
    says="All {confirmed} messages were confirmed, and the oldest {dropped} of them were dropped.",
    documented=Documented(
        agrees=True,
        says="By default, messages at the front of the queue, the oldest, are dropped or dead-lettered.",
        source="https://www.rabbitmq.com/docs/maxlength",
    ),
)
def rabbitmq_drop_head(server: Server) -> Numbers:
    confirmed, there = asyncio.run(_publish_to(server, x_max_length=MOST))
    assert confirmed == PUBLISHED
    assert there == LAST
    return {"confirmed": confirmed, "dropped": confirmed - len(there)}


@trial(
    ASKED,
    "rabbitmq",
    "`x-max-length: 10`, `x-overflow: reject-publish`",
    holds=True,
    short="{refused} refused",
    says="{confirmed} messages were confirmed and kept, and the producer was told that {refused} were refused.",
    documented=Documented(
        agrees=True,
        says="With `reject-publish`, the most recent publishes are discarded, and a producer with confirms is told by a `basic.nack`.",
        source="https://www.rabbitmq.com/docs/maxlength",
    ),
)
def rabbitmq_reject_publish(server: Server) -> Numbers:
    confirmed, there = asyncio.run(
        _publish_to(server, x_max_length=MOST, x_overflow="reject-publish")
    )
    assert there == FIRST == [*range(confirmed)]
    return {"confirmed": confirmed, "refused": PUBLISHED - confirmed}


#: Kafka looks for what is too much every five minutes; here at once.
HASTY = ("log.retention.check.interval.ms=200", "log.initial.task.delay.ms=200")


@trial(
    ASKED,
    "kafka",
    "`retention.bytes=3000000`, `segment.bytes=1048576`, looked at each 0.2 s",
    holds=False,
    short="oldest dropped, unread",
    says="Kafka counts bytes and not messages. All {confirmed} records of 0.5 MB were confirmed, and the oldest were deleted, although no group had read them; the newest was there.",
    documented=Documented(
        agrees=True,
        says="`retention.bytes` is the greatest size of a partition, beyond which old segments are discarded to free space; it is unlimited by default.",
        source="https://kafka.apache.org/44/configuration/topic-configs/#topicconfigs_retention.bytes",
    ),
)
def kafka_retention_bytes(server: Server) -> Numbers:
    async def proof(own: Server) -> int:
        [place] = await with_kafka.create(
            own.address, retention_bytes="3000000", segment_bytes="1048576"
        )
        async with with_kafka.producing(own.address) as producer:
            for number in range(PUBLISHED):
                await producer.send_and_wait(place.topic, b"%d" % number + bytes(500_000))
        async with with_kafka.consuming(own.address, group="late") as consumer:

            async def dropped() -> bool:
                return bool((await consumer.beginning_offsets([place]))[place])

            await comes(dropped)
            assert await consumer.end_offsets([place]) == {place: PUBLISHED}
            await consumer.seek_to_beginning(place)
            found = [await consumer.getone()]
            while found[-1].offset < PUBLISHED - 1:
                found.append(await consumer.getone())
        assert found[0].offset > 0
        return PUBLISHED

    with server.another(configured.kafka(*HASTY)) as own:
        return {"confirmed": asyncio.run(proof(own))}


async def _publish_to_stream(server: Server, config: StreamConfig) -> tuple[int, list[int]]:
    confirmed, refused = 0, set()
    async with jetstream(server, stream=config) as stream:
        for number in range(PUBLISHED):
            try:
                await stream.publish(SUBJECT, b"%d" % number)
            except APIError as error:
                refused.add(error.description)
                continue
            confirmed += 1
        assert refused <= {"maximum messages exceeded"}
        return confirmed, [int(body) for body in await there(stream)]


@trial(
    ASKED,
    "nats",
    "`max_msgs: 10`, `discard: old`",
    holds=False,
    short="{dropped} confirmed and dropped",
    says="All {confirmed} messages were confirmed, and the oldest {dropped} of them were deleted, unread.",
    documented=Documented(
        agrees=True,
        says="Discard old is the default: the oldest messages are discarded to make room, and the publish succeeds.",
        source="https://docs.nats.io/learn/jetstream/shaping-the-stream",
    ),
)
def nats_discard_old(server: Server) -> Numbers:
    confirmed, kept = asyncio.run(_publish_to_stream(server, StreamConfig(max_msgs=MOST)))
    assert confirmed == PUBLISHED
    assert kept == LAST
    return {"confirmed": confirmed, "dropped": confirmed - len(kept)}


@trial(
    ASKED,
    "nats",
    "`max_msgs: 10`, `discard: new`",
    holds=True,
    short="{refused} refused",
    says="{confirmed} messages were confirmed and kept, and {refused} were refused with the error `maximum messages exceeded`.",
    documented=Documented(
        agrees=True,
        says="With discard new, the publish is rejected with an error, and nothing that is stored is dropped.",
        source="https://docs.nats.io/learn/jetstream/shaping-the-stream",
    ),
)
def nats_discard_new(server: Server) -> Numbers:
    config = StreamConfig(max_msgs=MOST, discard=DiscardPolicy.NEW)
    confirmed, kept = asyncio.run(_publish_to_stream(server, config))
    assert kept == FIRST == [*range(confirmed)]
    return {"confirmed": confirmed, "refused": PUBLISHED - confirmed}


def _add(server: Server, **options: Any) -> list[str]:
    """Add entries, of which each call is answered; return what is there."""
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        for number in range(PUBLISHED):
            assert client.xadd(with_redis.STREAM, {"body": number}, **options)
        return with_redis.there(client)


@trial(
    ASKED,
    "redis",
    "`XADD` without `MAXLEN`",
    default=True,
    holds=True,
    short="no limit",
    says="A stream has no greatest length: all {confirmed} entries were kept, until somebody trims them or the memory is used up.",
    documented=Documented(
        agrees=True,
        says="A stream is bounded only by the `MAXLEN` or `MINID` of an `XADD`, or by `XTRIM`.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_no_limit(server: Server) -> Numbers:
    assert _add(server) == [*map(str, range(PUBLISHED))]
    return {"confirmed": PUBLISHED}


@trial(
    ASKED,
    "redis",
    "`XADD … MAXLEN = 10`",
    holds=False,
    short="{dropped} confirmed and dropped",
    says="Each `XADD` was answered, and the oldest {dropped} entries were gone, although the group had not read them.",
    documented=Documented(
        agrees=True,
        says="`MAXLEN` evicts entries beyond a length, by default regardless of whether a group still refers to them. From 8.2, `ACKED` only takes those that all groups have acknowledged.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_maxlen(server: Server) -> Numbers:
    there = _add(server, maxlen=MOST, approximate=False)
    assert there == [*map(str, LAST)]
    return {"dropped": PUBLISHED - len(there)}


@trial(
    ASKED,
    "redis",
    "`XADD … MAXLEN ~ 10`",
    holds=False,
    short="none dropped yet",
    says="{there} of {confirmed} entries were there: with `~`, Redis drops whole nodes of a hundred entries, and here there was not one to drop. Later, unread entries go as with `=`.",
    documented=Documented(
        agrees=True,
        says="With `~`, a stream is trimmed only when a whole node can be removed, so that a few tens of entries more may stay.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_maxlen_about(server: Server) -> Numbers:
    there = _add(server, maxlen=MOST, approximate=True)
    assert there == [*map(str, range(PUBLISHED))]
    return {"confirmed": PUBLISHED, "there": len(there)}


def _to_absent(server: Server, published: int) -> tuple[set[str], list[int]]:
    """Publish to a session whose client is away; return the answers, and what the client gets."""
    with session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos")
    with session(server) as producer:
        answers = {str(producer.publish("videos", str(number))) for number in range(published)}
    with session(server, "worker", expiry=600) as worker:
        acknowledged = -1
        while acknowledged < len(worker.received):
            acknowledged = len(worker.received)
            for message in worker.received[:acknowledged]:
                worker.ack(message)
            worker.settled()
        return answers, [*map(int, worker.bodies())]


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `max_queued_messages 1000`",
    default=True,
    holds=False,
    short="newest dropped",
    says="{published} messages were published while the client was away. All were confirmed, and the newest {dropped} were dropped, with a line in the server's log alone.",
    documented=Documented(
        agrees=True,
        says="`max_queued_messages` is the number of messages to hold for each client beyond those in flight, 1000 by default. The page does not say that the producer is told nothing.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_as_it_is(server: Server) -> Numbers:
    answers, there = _to_absent(server, 1100)
    assert answers == {"Success"}
    assert there == [*range(len(there))]
    assert 1000 <= len(there) < 1100
    assert "being dropped for client worker" in server.log.read_text()
    return {"published": 1100, "dropped": 1100 - len(there)}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, `max_queued_messages 10`",
    holds=False,
    short="{dropped} confirmed and dropped",
    says="All {confirmed} messages were confirmed, and the newest {dropped} were dropped. Mosquitto has no setting that refuses instead.",
)
def mqtt_ten(server: Server) -> Numbers:
    with server.another(configured.mosquitto("max_queued_messages 10")) as own:
        answers, there = _to_absent(own, PUBLISHED)
    assert answers == {"Success"}
    assert there == FIRST
    return {"confirmed": PUBLISHED, "dropped": PUBLISHED - len(there)}


@trial(
    ASKED,
    "postgresql",
    "a queue table",
    default=True,
    holds=True,
    short="no limit",
    says="A table has no greatest length: all {confirmed} rows were kept.",
)
def postgresql_no_limit(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, *map(str, range(PUBLISHED)))
        assert with_postgresql.waiting(connection) == [*map(str, range(PUBLISHED))]
    return {"confirmed": PUBLISHED}


@trial(
    ASKED,
    "postgresql",
    "`INSERT … SELECT … WHERE (SELECT count(*) FROM tasks) < 10`",
    holds=True,
    short="{refused} refused",
    says="{confirmed} rows were inserted, and {refused} times the statement said that it inserted none. The producer has to look at that number, and with several producers to take a lock before.",
)
def postgresql_counted(server: Server) -> Numbers:
    insert = "INSERT INTO tasks (body) SELECT %s WHERE (SELECT count(*) FROM tasks) < %s"
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        inserted = [connection.execute(insert, [str(n), MOST]).rowcount for n in range(PUBLISHED)]
        assert with_postgresql.waiting(connection) == [*map(str, FIRST)]
    assert inserted == [1] * MOST + [0] * (PUBLISHED - MOST)
    return {"confirmed": sum(inserted), "refused": inserted.count(0)}
