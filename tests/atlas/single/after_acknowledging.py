"""A message was acknowledged: is it still stored?"""

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

ASKED = "after-acknowledging"
PUBLISHED = 3
DAYS = 24 * 3600


async def _queue(server: Server) -> None:
    """Acknowledge all in a queue; what is not there comes to no second consumer either."""
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, range(PUBLISHED))
        for number in range(PUBLISHED):
            message = await queue.get()
            assert int(message.body) == number
            await message.ack()
    async with rabbitmq.opened(server.address) as channel:
        again = await rabbitmq.declare(channel)
        assert again.declaration_result.message_count == 0
        assert not await rabbitmq.rest(again)


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue",
    default=True,
    holds=True,
    short="gone",
    says="With its acknowledgement, each message was gone from the queue.",
    documented=Documented(
        agrees=True,
        says="A positive acknowledgement tells the server to record the message as delivered, and that it can be discarded.",
        source="https://www.rabbitmq.com/docs/confirms#acknowledgement-modes",
    ),
)
def rabbitmq_queue(server: Server) -> Numbers:
    asyncio.run(_queue(server))
    return {}


async def _stream(server: Server) -> list[int]:
    async with rabbitmq.opened(server.address, prefetch=10) as channel:
        stream = await rabbitmq.declare(channel, "stream")
        await rabbitmq.publish(channel, range(PUBLISHED))
        for _ in "ab":
            found: list[int] = []
            async with stream.iterator(
                arguments={"x-stream-offset": "first"}, timeout=60
            ) as messages:
                async for message in messages:
                    found.append(int(message.body))
                    await message.ack()
                    if len(found) == PUBLISHED:
                        break
    return found


@trial(
    ASKED,
    "rabbitmq",
    "`x-queue-type: stream`",
    holds=True,
    short="still there",
    says="All {there} acknowledged messages were still in the stream. It keeps them without end unless `x-max-age` or `x-max-length-bytes` is set.",
    documented=Documented(
        agrees=True,
        says="Reading a stream removes nothing, and the log grows until the disk is full unless retention is set.",
        source="https://www.rabbitmq.com/docs/4.3/streams",
    ),
)
def rabbitmq_stream(server: Server) -> Numbers:
    there = asyncio.run(_stream(server))
    assert there == [*range(PUBLISHED)]
    return {"there": len(there)}


async def _topic(server: Server) -> tuple[list[int], str]:
    [place] = await kafka.create(server.address)
    await kafka.publish(server.address, range(PUBLISHED))
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        for _ in range(PUBLISHED):
            await worker.getone()
        await worker.commit()
        assert await worker.committed(place) == PUBLISHED
    keeps = (await kafka.configured(server.address))["retention.ms"]
    async with kafka.consuming(
        server.address, group="others", auto_offset_reset="earliest"
    ) as reader:
        return [int((await reader.getone()).value) for _ in range(PUBLISHED)], keeps


@trial(
    ASKED,
    "kafka",
    "`retention.ms` of the server's default",
    default=True,
    holds=True,
    short="still there",
    says="All {there} messages whose offset the group had committed were still in the topic. It keeps them for {days} days.",
    documented=Documented(
        agrees=True,
        says="Events are not deleted after consumption; a setting of the topic says for how long they are kept.",
        source="https://kafka.apache.org/44/getting-started/introduction/",
    ),
)
def kafka_committed(server: Server) -> Numbers:
    there, keeps = asyncio.run(_topic(server))
    assert there == [*range(PUBLISHED)]
    return {"there": len(there), "days": int(keeps) / 1000 / DAYS}


async def _acknowledged(server: Server, retention: RetentionPolicy | None) -> int:
    """Acknowledge all in a stream; return how many it has afterwards."""
    async with jetstream(server, stream=StreamConfig(retention=retention)) as context:
        worker = await nats.durable(context)
        await nats.publish(context, *range(PUBLISHED))
        for message in await nats.take(worker, PUBLISHED):
            await message.ack_sync(timeout=60)
        if retention:

            async def empty() -> bool:
                return (await context.stream_info("videos")).state.messages == 0

            await comes(empty)
        return (await context.stream_info("videos")).state.messages


@trial(
    ASKED,
    "nats",
    "`retention: limits`",
    default=True,
    holds=True,
    short="still there",
    says="All {there} acknowledged messages were still in the stream. Without a limit, it keeps them without end.",
    documented=Documented(
        agrees=True,
        says="Under `Limits`, the default, reading and acknowledging has no effect on what the stream keeps.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_limits(server: Server) -> Numbers:
    there = asyncio.run(_acknowledged(server, None))
    assert there == PUBLISHED
    return {"there": there}


@trial(
    ASKED,
    "nats",
    "`retention: workqueue`",
    holds=True,
    short="gone",
    says="With its acknowledgement, each message was gone from the stream.",
    documented=Documented(
        agrees=True,
        says="Under `WorkQueue`, the first acknowledgement removes the message.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_work_queue(server: Server) -> Numbers:
    assert asyncio.run(_acknowledged(server, RetentionPolicy.WORK_QUEUE)) == 0
    return {}


@trial(
    ASKED,
    "nats",
    "`retention: interest`",
    holds=True,
    short="gone",
    says="When the only consumer had acknowledged a message, it was gone from the stream.",
    documented=Documented(
        agrees=True,
        says="Under `Interest`, a message is removed once every consumer whose filter covers it has acknowledged it.",
        source="https://docs.nats.io/learn/jetstream/retention-policies",
    ),
)
def nats_interest(server: Server) -> Numbers:
    assert asyncio.run(_acknowledged(server, RetentionPolicy.INTEREST)) == 0
    return {}


def _xack(client: Any, *, delete: bool) -> int:
    """Acknowledge all entries; return how many are there afterwards."""
    redis.grouped(client)
    entries = redis.add(client, *range(PUBLISHED))
    assert [entry for entry, _ in redis.read(client, count=PUBLISHED)] == entries
    for entry in entries:
        with client.pipeline(transaction=True) as both:
            both.xack(redis.STREAM, redis.GROUP, entry)
            if delete:
                both.xdel(redis.STREAM, entry)
            both.execute()
    assert client.xpending(redis.STREAM, redis.GROUP)["pending"] == 0
    return len(redis.there(client))


@trial(
    ASKED,
    "redis",
    "`XACK`",
    default=True,
    holds=True,
    short="still there",
    says="All {there} acknowledged entries were still in the stream, and in the server's memory. `XACK` takes an entry from the group's list of what is at work, and nothing else.",
    documented=Documented(
        agrees=True,
        says="`XACK` removes messages from the group's list of pending entries.",
        source="https://redis.io/docs/latest/commands/xack/",
    ),
)
def redis_xack(server: Server) -> Numbers:
    with redis.connected(server) as client:
        there = _xack(client, delete=False)
    assert there == PUBLISHED
    return {"there": there}


@trial(
    ASKED,
    "redis",
    "`XACK` and `XDEL` in one `MULTI`",
    holds=True,
    short="gone",
    says="With its acknowledgement, each entry was gone from the stream, also for other groups.",
)
def redis_xdel(server: Server) -> Numbers:
    with redis.connected(server) as client:
        client.xgroup_create(redis.STREAM, "others", "0", mkstream=True)
        assert _xack(client, delete=True) == 0
        assert not client.xreadgroup("others", "B", {redis.STREAM: ">"})
    return {}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1",
    default=True,
    holds=True,
    short="gone",
    says="With its acknowledgement, each message was gone from the session, and a client that subscribed afterwards got none of them.",
)
def mqtt_session(server: Server) -> Numbers:
    with mqtt.session(server, "worker", expiry=3600) as worker, mqtt.session(server) as producer:
        worker.subscribe("videos")
        for number in range(PUBLISHED):
            producer.publish("videos", str(number))
        worker.comes("0", "1", "2")
        for message in worker.received:
            worker.ack(message)
        worker.settled()
    for name in ("worker", "late"):
        with mqtt.session(server, name, expiry=3600) as again:
            again.subscribe("videos")
            again.publish("videos", "last")
            again.comes("last")
    return {}


@trial(
    ASKED,
    "mqtt",
    "`retain`",
    holds=True,
    short="the last is there",
    says="The last message of the topic was still there after its acknowledgement, and the {gone} before it were gone.",
    documented=Documented(
        agrees=True,
        says="A retained message is stored until the next one with its topic replaces it.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901104",
    ),
)
def mqtt_retained(server: Server) -> Numbers:
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
        for number in range(PUBLISHED):
            worker.publish("videos", str(number), retain=True)
        worker.comes("0", "1", "2")
        for message in worker.received:
            worker.ack(message)
        worker.settled()
    with mqtt.session(server) as late:
        late.subscribe("videos")
        late.publish("videos", "next")
        late.comes("2", "next")
    return {"gone": PUBLISHED - 1}


@trial(
    ASKED,
    "postgresql",
    "`DELETE` in the work's transaction",
    default=True,
    holds=True,
    short="gone",
    says="With the commit, each row was gone from the table.",
)
def postgresql_delete(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, "0", "1", "2")
        assert [postgresql.work(connection) for _ in range(PUBLISHED)] == ["0", "1", "2"]
    with postgresql.connect(server) as connection:
        assert not postgresql.waiting(connection)
    return {}


@trial(
    ASKED,
    "postgresql",
    "`UPDATE … SET done_at = now()` in the work's transaction",
    holds=True,
    short="still there",
    says="All {there} rows that were marked as done were still in the table, until something deletes them.",
)
def postgresql_mark(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD done_at timestamptz")
        postgresql.publish(connection, "0", "1", "2")
        for body in postgresql.waiting(connection):
            connection.execute("UPDATE tasks SET done_at = now() WHERE body = %s", [body])
        assert not connection.execute("SELECT FROM tasks WHERE done_at IS NULL").fetchall()
        there = postgresql.waiting(connection)
    assert there == ["0", "1", "2"]
    return {"there": len(there)}
