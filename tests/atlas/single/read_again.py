"""Yesterday's messages have to be read once more."""

from __future__ import annotations

import asyncio
from typing import Any

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

ASKED = "read-again"
PUBLISHED = 3


async def _queue(server: Server) -> list[int]:
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, range(PUBLISHED))
        assert await rabbitmq.rest(queue) == [*range(PUBLISHED)]
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, [PUBLISHED])
        return await rabbitmq.rest(queue)


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue",
    default=True,
    holds=False,
    short="nothing is there",
    says="A consumer that came later got none of the messages that had been acknowledged. Whoever needs them again writes them somewhere else, or to a stream.",
)
def rabbitmq_queue(server: Server) -> Numbers:
    assert asyncio.run(_queue(server)) == [PUBLISHED]
    return {}


async def _stream(server: Server) -> list[list[int]]:
    read = []
    async with rabbitmq.opened(server.address, prefetch=10) as channel:
        stream = await rabbitmq.declare(channel, "stream")
        await rabbitmq.publish(channel, range(PUBLISHED))
        for _ in range(2):
            found: list[int] = []
            begin = {"x-stream-offset": "first"}
            async with stream.iterator(arguments=begin, timeout=60) as messages:
                async for message in messages:
                    found.append(int(message.body))
                    await message.ack()
                    if len(found) == PUBLISHED:
                        break
            read.append(found)
    return read


@trial(
    ASKED,
    "rabbitmq",
    "`x-queue-type: stream`, `x-stream-offset: first`",
    holds=True,
    short="all {again} again",
    says="A consumer that asked for the first offset got all {again} messages again, in order.",
    documented=Documented(
        agrees=True,
        says="A consumer chooses with `x-stream-offset` where to begin: first, last, next, an offset or a time; next is the default.",
        source="https://www.rabbitmq.com/docs/4.3/streams",
    ),
)
def rabbitmq_stream(server: Server) -> Numbers:
    first, again = asyncio.run(_stream(server))
    assert first == again == [*range(PUBLISHED)]
    return {"again": len(again)}


async def _work_off(server: Server) -> None:
    """Have a group read the topic, and commit its end."""
    [place] = await kafka.create(server.address)
    await kafka.publish(server.address, range(PUBLISHED))
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        for number in range(PUBLISHED):
            assert int((await worker.getone()).value) == number
        await worker.commit()
        assert await worker.committed(place) == PUBLISHED


async def _new_group(server: Server, settings: dict[str, Any]) -> list[int]:
    """Read as a group that is new, up to a message that is published when it is ready."""
    await _work_off(server)
    async with kafka.consuming(server.address, group="again", **settings) as reader:
        while not reader.assignment():
            await reader.getmany(timeout_ms=100)
        [place] = reader.assignment()
        await reader.position(place)  # so it has found where to begin
        await kafka.publish(server.address, [PUBLISHED])
        found: list[int] = []
        while PUBLISHED not in found:
            found.append(int((await reader.getone()).value))
        return found


@trial(
    ASKED,
    "kafka",
    "a new group, `auto_offset_reset` latest",
    default=True,
    holds=False,
    short="none",
    says="A group that was new got none of the messages that were there already, and no error. They are still in the topic.",
    documented=Documented(
        agrees=True,
        says="Without a committed offset, the consumer goes to where `auto.offset.reset` says; the default is latest.",
        source="https://kafka.apache.org/44/configuration/consumer-configs/#consumerconfigs_auto.offset.reset",
    ),
)
def kafka_latest(server: Server) -> Numbers:
    assert asyncio.run(_new_group(server, {})) == [PUBLISHED]
    return {}


@trial(
    ASKED,
    "kafka",
    "a new group, `auto_offset_reset` earliest",
    holds=True,
    short="all {again} again",
    says="A group that was new got all {again} messages again, in order.",
)
def kafka_earliest(server: Server) -> Numbers:
    found = asyncio.run(_new_group(server, {"auto_offset_reset": "earliest"}))
    assert found == [*range(PUBLISHED + 1)]
    return {"again": len(found) - 1}


async def _set_back(server: Server) -> list[int]:
    await _work_off(server)
    async with kafka.consuming(server.address) as worker:
        while not worker.assignment():
            await worker.getmany(timeout_ms=100)
        [place] = worker.assignment()
        assert await worker.position(place) == PUBLISHED
        await worker.seek_to_beginning()
        return [int((await worker.getone()).value) for _ in range(PUBLISHED)]


@trial(
    ASKED,
    "kafka",
    "the same group, `seek_to_beginning()`",
    holds=True,
    short="all {again} again",
    says="The group that had committed its offset went back to the beginning, and got all {again} messages again, in order.",
)
def kafka_seek(server: Server) -> Numbers:
    again = asyncio.run(_set_back(server))
    assert again == [*range(PUBLISHED)]
    return {"again": len(again)}


async def _second_consumer(server: Server, retention: RetentionPolicy | None) -> list[str]:
    async with jetstream(server, stream=StreamConfig(retention=retention)) as context:
        worker = await nats.durable(context)
        await nats.publish(context, *range(PUBLISHED))
        for message in await nats.take(worker, PUBLISHED):
            await message.ack_sync(timeout=60)
        if retention:
            await context.delete_consumer(nats.STREAM, nats.DURABLE)  # it can have only one

            async def empty() -> bool:
                return not await nats.there(context)

            await comes(empty)
        await nats.publish(context, "last")
        reader = await context.pull_subscribe("", durable="again", stream=nats.STREAM)
        found: list[str] = []
        while "last" not in found:
            found += [message.data.decode() for message in await nats.take(reader)]
        return found


@trial(
    ASKED,
    "nats",
    "a new durable consumer, `deliver_policy: all`",
    default=True,
    holds=True,
    short="all {again} again",
    says="A new durable consumer got all {again} messages again, in order.",
    documented=Documented(
        agrees=True,
        says="`all` is the default: a consumer starts at the stream's first message.",
        source="https://docs.nats.io/learn/jetstream/policies",
    ),
)
def nats_all(server: Server) -> Numbers:
    found = asyncio.run(_second_consumer(server, None))
    assert found == ["0", "1", "2", "last"]
    return {"again": len(found) - 1}


@trial(
    ASKED,
    "nats",
    "`retention: workqueue`",
    holds=False,
    short="nothing is there",
    says="A new consumer got none of the messages that had been acknowledged: they were gone from the stream.",
    documented=Documented(
        agrees=True,
        says="Under `WorkQueue`, the first acknowledgement removes the message.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_work_queue(server: Server) -> Numbers:
    assert asyncio.run(_second_consumer(server, RetentionPolicy.WORK_QUEUE)) == ["last"]
    return {}


def _work_off_stream(client: Any) -> None:
    redis.grouped(client)
    for entry in redis.add(client, *range(PUBLISHED)):
        assert redis.read(client)[0][0] == entry
        client.xack(redis.STREAM, redis.GROUP, entry)


@trial(
    ASKED,
    "redis",
    "`XGROUP SETID … 0`",
    default=True,
    holds=True,
    short="all {again} again",
    says="The group was set back to the beginning, and got all {again} entries again, in order, as `XACK` had left them in the stream.",
    documented=Documented(
        agrees=True,
        says="`XGROUP SETID` sets the id that was delivered last; 0 resets the group to the start.",
        source="https://redis.io/docs/latest/commands/xgroup-setid/",
    ),
)
def redis_setid(server: Server) -> Numbers:
    with redis.connected(server) as client:
        _work_off_stream(client)
        assert not redis.read(client)
        client.xgroup_setid(redis.STREAM, redis.GROUP, "0")
        again = [body for _, body in redis.read(client, count=10)]
    assert again == ["0", "1", "2"]
    return {"again": len(again)}


@trial(
    ASKED,
    "redis",
    "a new group, `XGROUP CREATE … 0`",
    holds=True,
    short="all {again} again",
    says="A new group that begins at 0 got all {again} entries, in order; one that begins at `$` got none.",
)
def redis_new_group(server: Server) -> Numbers:
    with redis.connected(server) as client:
        _work_off_stream(client)
        found = {}
        for group, begin in {"first": "0", "last": "$"}.items():
            client.xgroup_create(redis.STREAM, group, begin)
            found[group] = client.xreadgroup(group, "A", {redis.STREAM: ">"})
        ((_, again),) = found["first"]
        assert [fields["body"] for _, fields in again] == ["0", "1", "2"]
        assert not found["last"]
    return {"again": len(again)}


def _in_a_session(server: Server, *, retain: bool) -> None:
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
        for number in range(PUBLISHED):
            worker.publish("videos", str(number), retain=retain)
        worker.comes("0", "1", "2")
        for message in worker.received:
            worker.ack(message)
        worker.settled()


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1",
    default=True,
    holds=False,
    short="nothing is there",
    says="A client that subscribed later got none of the messages that had been acknowledged. Whoever needs them again has a client that writes them into a database.",
)
def mqtt_session(server: Server) -> Numbers:
    _in_a_session(server, retain=False)
    with mqtt.session(server, "again", expiry=3600) as reader:
        reader.subscribe("videos")
        reader.publish("videos", "last")
        reader.comes("last")
    return {}


@trial(
    ASKED,
    "mqtt",
    "`retain`",
    holds=False,
    short="only the last",
    says="A client that subscribed later got the last of {published} messages of its topic, and none before it.",
    documented=Documented(
        agrees=True,
        says="For each topic there is at most one retained message, the newest.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901104",
    ),
)
def mqtt_retained(server: Server) -> Numbers:
    _in_a_session(server, retain=True)
    with mqtt.session(server, "again", expiry=3600) as reader:
        reader.subscribe("videos")
        reader.publish("videos", "next")
        reader.comes("2", "next")
    return {"published": PUBLISHED}


@trial(
    ASKED,
    "postgresql",
    "`DELETE` in the work's transaction",
    default=True,
    holds=False,
    short="nothing is there",
    says="None of the messages that had been acknowledged was in the table.",
)
def postgresql_delete(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, "0", "1", "2")
        assert [postgresql.work(connection) for _ in range(PUBLISHED)] == ["0", "1", "2"]
        postgresql.publish(connection, "last")
        assert postgresql.waiting(connection) == ["last"]
    return {}


@trial(
    ASKED,
    "postgresql",
    "`UPDATE … SET done_at = now()` in the work's transaction",
    holds=True,
    short="all {again} again",
    says="All {again} messages were found again by a `SELECT` without the condition, in order.",
)
def postgresql_mark(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD done_at timestamptz")
        postgresql.publish(connection, "0", "1", "2")
        for body in postgresql.waiting(connection):
            connection.execute("UPDATE tasks SET done_at = now() WHERE body = %s", [body])
        again = postgresql.waiting(connection)
    assert again == ["0", "1", "2"]
    return {"again": len(again)}
