"""Retention ends while a consumer is behind: are unread messages deleted?"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aio_pika import Message
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import APIError

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.kafka import Kafka
from tests.brokers.server import wait_until

ASKED = "retention-unread"
UNREAD, LATER = 10, 3


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue without a limit",
    default=True,
    holds=True,
    short="no",
    says="All {unread} unread messages were there. A queue has no retention: it keeps what is not acknowledged, without end.",
)
def rabbitmq_queue(server: Server) -> Numbers:
    async def run() -> list[int]:
        async with rabbitmq.opened(server.address) as channel:
            queue = await rabbitmq.declare(channel)
            await rabbitmq.publish(channel, range(UNREAD))
            return await rabbitmq.rest(queue)

    assert asyncio.run(run()) == [*range(UNREAD)]
    return {"unread": UNREAD}


@trial(
    ASKED,
    "rabbitmq",
    "`x-message-ttl`",
    holds=False,
    short="{unread} deleted",
    says="All {unread} unread messages were gone when the time to live was over, and neither producer nor consumer was told.",
    documented=Documented(
        agrees=True,
        says="A message that has been in the queue for longer than its time to live is dropped, or dead-lettered if the queue has a dead letter exchange.",
        source="https://www.rabbitmq.com/docs/ttl",
    ),
)
def rabbitmq_ttl(server: Server) -> Numbers:
    async def run() -> None:
        async with rabbitmq.opened(server.address) as channel:
            queue = await rabbitmq.declare(channel, x_message_ttl=100)
            await rabbitmq.publish(channel, range(UNREAD))

            async def empty() -> bool:
                again = await channel.declare_queue(queue.name, passive=True)
                return again.declaration_result.message_count == 0

            await comes(empty)
            assert not await rabbitmq.rest(queue)

    asyncio.run(run())
    return {"unread": UNREAD}


async def _stream_offset(server: Server) -> tuple[int, int]:
    """Return what a consumer asked for, and the offset of what it then got."""
    read = 5
    segments: Any = {"x_max_length_bytes": 20_000, "x_stream_max_segment_size_bytes": 10_000}
    async with rabbitmq.opened(server.address, prefetch=10) as channel:
        stream = await rabbitmq.declare(channel, "stream", **segments)

        async def first(begin: str | int) -> int:
            offset = {"x-stream-offset": begin}
            async with stream.iterator(arguments=offset, timeout=60) as messages:
                async for message in messages:
                    await message.ack()
                    found = message.headers["x-stream-offset"]
                    assert isinstance(found, int)
                    return found
            raise AssertionError

        await rabbitmq.publish(channel, range(read))
        assert await first("first") == 0

        async def deleted() -> bool:
            for _ in range(20):
                await channel.default_exchange.publish(Message(b"x" * 1000), stream.name)
            return await first("first") > read

        await comes(deleted)
        return read, await first(read)


@trial(
    ASKED,
    "rabbitmq",
    "`x-queue-type: stream`, `x-max-length-bytes` and a small segment",
    holds=False,
    short="deleted, a gap",
    says="Unread messages were deleted. A consumer that asked for the next offset after its last one got a later one, without an error; the gap in `x-stream-offset` is the only sign.",
    documented=Documented(
        agrees=True,
        says="Retention discards the oldest data of the log, by whole segments, going by size and age alone.",
        source="https://www.rabbitmq.com/docs/4.3/streams",
    ),
)
def rabbitmq_stream(server: Server) -> Numbers:
    asked, got = asyncio.run(_stream_offset(server))
    assert got > asked
    return {}


class Watchful(Kafka):
    """Looks five times a second for what retention deletes, not every five minutes."""

    def _format(self) -> None:
        super()._format()
        with self.configuration.open("a") as file:
            file.write("log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=200\n")


async def _expire(address: str, **settings: Any) -> tuple[TopicPartition, int]:
    """Have a group read one of the messages, which are eight days old; wait for retention.

    Return the topic's partition, and how many it had deleted.
    """
    [place] = await kafka.create(address, **settings)
    [other] = await kafka.create(address, "others")
    old = int((time.time() - 8 * 24 * 3600) * 1000)
    async with kafka.producing(address) as producer:
        for one in (place, other):
            for number in range(UNREAD + 1):
                await producer.send_and_wait(one.topic, b"%d" % number, timestamp_ms=old)
    async with kafka.consuming(address, group=None) as client:

        async def deleted() -> bool:
            begins = await client.beginning_offsets([place, other])
            wanted = (other,) if settings else (place, other)
            return all(begins[one] == UNREAD + 1 for one in wanted)

        # What the group has read is committed by hand: it may be gone before it is read.
        async with kafka.consuming(address, enable_auto_commit=False) as worker:
            while not worker.assignment():
                await worker.getmany(timeout_ms=100)
            await worker.commit({place: 1})
        await comes(deleted)
        begin = (await client.beginning_offsets([place]))[place]
    await kafka.publish(address, range(UNREAD + 1, UNREAD + 1 + LATER))
    return place, begin


async def _come_back(server: Server, settings: dict[str, Any], **topic: Any) -> list[int]:
    """Return what the group gets of what is there, up to one more that comes afterwards."""
    with server.another(Watchful) as own:
        place, _ = await _expire(own.address, **topic)
        async with kafka.consuming(own.address, **settings) as worker:
            while not worker.assignment():
                await worker.getmany(timeout_ms=100)
            found: list[int] = []

            async def caught_up() -> bool:
                got = await worker.getmany(timeout_ms=100)
                found.extend(int(one.value) for some in got.values() for one in some)
                return bool(await worker.position(place) == UNREAD + 1 + LATER)

            await comes(caught_up)
            await kafka.publish(own.address, [-1])
            while -1 not in found:
                found.append(int((await worker.getone()).value))
        return found[:-1]


@trial(
    ASKED,
    "kafka",
    "`retention.ms` of 7 days, looked at every 200 ms; `auto_offset_reset` latest",
    default=True,
    holds=False,
    short="{deleted} deleted, {skipped} skipped",
    says="{deleted} unread messages, written with a time of eight days ago, were deleted. The consumer came back without an error, went to the end, and so skipped {skipped} more that were still there.",
    documented=Documented(
        agrees=True,
        says="If the offset is no longer on the server, for example because the data was deleted, the consumer is reset as `auto.offset.reset` says, by default to the latest.",
        source="https://kafka.apache.org/44/configuration/consumer-configs/#consumerconfigs_auto.offset.reset",
    ),
)
def kafka_latest(server: Server) -> Numbers:
    assert asyncio.run(_come_back(server, {})) == []
    return {"deleted": UNREAD, "skipped": LATER}


@trial(
    ASKED,
    "kafka",
    "`retention.ms` of 7 days, looked at every 200 ms; `auto_offset_reset` earliest",
    holds=False,
    short="{deleted} deleted",
    says="{deleted} unread messages, written with a time of eight days ago, were deleted. The consumer came back without an error, and went on with the oldest that was there.",
)
def kafka_earliest(server: Server) -> Numbers:
    there = asyncio.run(_come_back(server, {"auto_offset_reset": "earliest"}))
    assert there == [*range(UNREAD + 1, UNREAD + 1 + LATER)]
    return {"deleted": UNREAD}


@trial(
    ASKED,
    "kafka",
    "`retention.ms` of 7 days, looked at every 200 ms; `auto_offset_reset` none",
    holds=False,
    short="{deleted} deleted, an error",
    says="{deleted} unread messages, written with a time of eight days ago, were deleted. The consumer that came back got an error, `OffsetOutOfRangeError`, which names the offset.",
    documented=Documented(
        agrees=True,
        says="With `auto.offset.reset` none, the consumer gets an exception.",
        source="https://kafka.apache.org/44/configuration/consumer-configs/#consumerconfigs_auto.offset.reset",
    ),
)
def kafka_none(server: Server) -> Numbers:
    async def run() -> None:
        with server.another(Watchful) as own:
            _, begin = await _expire(own.address)
            assert begin == UNREAD + 1
            async with kafka.consuming(own.address, auto_offset_reset="none") as worker:
                with pytest.raises(OffsetOutOfRangeError):
                    await worker.getone()

    asyncio.run(run())
    return {"deleted": UNREAD}


@trial(
    ASKED,
    "kafka",
    "`retention.ms=-1`, looked at every 200 ms",
    holds=True,
    short="no",
    says="All {unread} unread messages were there and were read, while another topic with the default lost its own, of the same age.",
    documented=Documented(
        agrees=True,
        says="With `retention.ms` of -1, no time limit is applied.",
        source="https://kafka.apache.org/44/configuration/topic-configs/#topicconfigs_retention.ms",
    ),
)
def kafka_for_ever(server: Server) -> Numbers:
    there = asyncio.run(_come_back(server, {}, retention_ms="-1"))
    assert there == [*range(1, UNREAD + 1 + LATER)]
    return {"unread": UNREAD}


@trial(
    ASKED,
    "nats",
    "a stream without a limit",
    default=True,
    holds=True,
    short="no",
    says="All {unread} unread messages were there. Without a limit, the stream keeps them without end.",
)
def nats_no_limit(server: Server) -> Numbers:
    async def run() -> list[str]:
        async with jetstream(server) as context:
            worker = await nats.durable(context)
            await nats.publish(context, *range(UNREAD))
            return [one.data.decode() for one in await nats.take(worker, UNREAD)]

    assert asyncio.run(run()) == [str(number) for number in range(UNREAD)]
    return {"unread": UNREAD}


async def _too_old(server: Server) -> tuple[int, int]:
    """Return the sequence that the consumer read last, and the one that it then gets."""
    async with jetstream(server) as context:
        worker = await nats.durable(context)
        await nats.publish(context, "read")
        [message] = await nats.take(worker)
        read = message.metadata.sequence.stream
        await message.ack_sync(timeout=60)
        await nats.publish(context, *range(UNREAD))
        await context.update_stream(StreamConfig(name=nats.STREAM, max_age=0.5))

        async def empty() -> bool:
            return (await context.stream_info(nats.STREAM)).state.messages == 0

        await comes(empty)
        await context.update_stream(StreamConfig(name=nats.STREAM))
        await nats.publish(context, "next")
        [message] = await nats.take(worker)
        assert message.data == b"next"
        return read, message.metadata.sequence.stream


@trial(
    ASKED,
    "nats",
    "`max_age`",
    holds=False,
    short="{deleted} deleted, a gap",
    says="{deleted} unread messages were deleted. The durable consumer went on with the next one, without an error; the gap in the stream's sequence is the only sign.",
    documented=Documented(
        agrees=True,
        says="A message that is limited by its age stays until then, read or unread; the limits apply under each retention policy.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_max_age(server: Server) -> Numbers:
    read, then = asyncio.run(_too_old(server))
    assert then == read + UNREAD + 1
    return {"deleted": then - read - 1}


@trial(
    ASKED,
    "nats",
    "`max_msgs` and `discard: new`",
    holds=True,
    short="no, {refused} refused",
    says="All {unread} unread messages were there, and the producer was told that {refused} more were refused.",
)
def nats_discard_new(server: Server) -> Numbers:
    config = StreamConfig(max_msgs=UNREAD, discard=DiscardPolicy.NEW)

    async def run() -> tuple[list[str], int]:
        refused = 0
        async with jetstream(server, stream=config) as context:
            worker = await nats.durable(context)
            for number in range(UNREAD + LATER):
                if number < UNREAD:
                    await nats.publish(context, number)
                    continue
                with pytest.raises(APIError, match="maximum messages exceeded"):
                    await nats.publish(context, number)
                refused += 1
            return [one.data.decode() for one in await nats.take(worker, UNREAD)], refused

    there, refused = asyncio.run(run())
    assert there == [str(number) for number in range(UNREAD)]
    assert refused == LATER
    return {"unread": len(there), "refused": refused}


@trial(
    ASKED,
    "redis",
    "`XADD` without `MAXLEN`",
    default=True,
    holds=True,
    short="no",
    says="All {unread} unread entries were there. Without trimming, the stream keeps them in memory without end.",
)
def redis_untrimmed(server: Server) -> Numbers:
    with redis.connected(server) as client:
        redis.grouped(client)
        redis.add(client, *range(UNREAD))
        there = [body for _, body in redis.read(client, count=2 * UNREAD)]
    assert there == [str(number) for number in range(UNREAD)]
    return {"unread": len(there)}


@trial(
    ASKED,
    "redis",
    "`XTRIM videos MINID …`",
    holds=False,
    short="{deleted} deleted",
    says="{deleted} unread entries were deleted, and an entry that a worker had not acknowledged lost its body too. The group got the next entry without an error, and the lag in `XINFO GROUPS` was {lag}: what is gone is not counted.",
)
def redis_trimmed(server: Server) -> Numbers:
    with redis.connected(server) as client:
        redis.grouped(client)
        [held] = redis.add(client, "held")
        assert redis.read(client) == [(held, "held")]
        redis.add(client, *range(UNREAD))
        [kept] = redis.add(client, "next")
        assert client.xtrim(redis.STREAM, minid=kept, approximate=False) == UNREAD + 1
        [group] = client.xinfo_groups(redis.STREAM)
        lag = group["lag"]
        assert redis.read(client, count=UNREAD) == [(kept, "next")]
        ((_, mine),) = client.xreadgroup(redis.GROUP, "A", {redis.STREAM: "0"})
        assert mine[0][0] == held
        assert not mine[0][1]
    assert lag == 1
    return {"deleted": UNREAD, "lag": lag}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1, `max_queued_messages` of 1000",
    default=True,
    holds=False,
    short="{dropped} newest dropped",
    says="{confirmed} messages were confirmed while the consumer was away, and it got {kept}. The newest {dropped} were dropped, without a sign to producer or consumer.",
    documented=Documented(
        agrees=True,
        says="`max_queued_messages` is the largest number of messages of QoS 1 and 2 that wait for a client, beside those in flight; 1000 by default.",
        source="https://mosquitto.org/man/mosquitto-conf-5.html",
    ),
)
def mqtt_default(server: Server) -> Numbers:
    confirmed = 1100
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with mqtt.session(server) as producer:
        for number in range(confirmed):
            assert producer.publish("videos", str(number)) == 0
    with mqtt.session(server, "worker", expiry=3600) as worker:
        count = 0
        while "last" not in worker.bodies():
            if count == len(worker.received):
                worker.publish("videos", "last")
            wait_until(lambda seen=count: len(worker.received) > seen, "messages")  # type: ignore[misc]
            for message in worker.received[count:]:
                worker.ack(message)
                count += 1
        there = [body for body in worker.bodies() if body != "last"]
    kept = len(there)
    assert there == [str(number) for number in range(kept)]
    assert kept < confirmed
    return {"confirmed": confirmed, "kept": kept, "dropped": confirmed - kept}


@trial(
    ASKED,
    "mqtt",
    "a durable session, `SessionExpiryInterval` of 1 s",
    holds=False,
    short="{deleted} deleted",
    says="The server confirmed {deleted} messages for a consumer that acknowledged none of them and left, and deleted them with its session when that had expired. The consumer sees it when it comes back: *session present* is false.",
    documented=Documented(
        agrees=True,
        says="When the session expiry interval has passed, the server deletes the session; its state includes the messages that wait for the client.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901230",
    ),
)
def mqtt_session_expires(server: Server) -> Numbers:
    with mqtt.session(server) as producer:
        with mqtt.session(server, "worker", expiry=1) as worker:
            worker.subscribe("videos")
            for number in range(UNREAD):
                assert producer.publish("videos", str(number)) == "Success"

        def nobody() -> bool:
            return producer.publish("videos", "is it gone?").getName() == "No matching subscribers"

        wait_until(nobody, "the end of the session")
    with mqtt.session(server, "worker", expiry=1) as worker:
        assert not worker.present
        worker.subscribe("videos")
        worker.publish("videos", "next")
        worker.comes("next")
    return {"deleted": UNREAD}


@trial(
    ASKED,
    "postgresql",
    "a table",
    default=True,
    holds=True,
    short="no",
    says="All {unread} unread messages were there. A table has no retention: what nobody deletes stays.",
)
def postgresql_table(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, *map(str, range(UNREAD)))
    with postgresql.connect(server) as connection:
        there = postgresql.waiting(connection)
    assert there == [str(number) for number in range(UNREAD)]
    return {"unread": len(there)}
