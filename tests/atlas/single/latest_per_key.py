"""Only the latest message of each key is of interest."""

from __future__ import annotations

import asyncio
from typing import Any

from aio_pika import Message
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig

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

ASKED = "latest-per-key"
KEYS = ("cat", "dog")
#: Each key in turn, with the number of its message.
PUBLISHED = [(KEYS[number % 2], number) for number in range(10)]
LATEST = {"cat": 8, "dog": 9}
ALL = {"came": len(PUBLISHED)}


async def _queue(server: Server) -> list[int]:
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, [number for _, number in PUBLISHED])
        return await rabbitmq.rest(queue)


@trial(
    ASKED,
    "rabbitmq",
    "a classic queue",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} messages came: a queue knows no key.",
)
def rabbitmq_queue(server: Server) -> Numbers:
    assert asyncio.run(_queue(server)) == [number for _, number in PUBLISHED]
    return ALL


async def _queue_per_key(server: Server) -> dict[str, list[int]]:
    async with rabbitmq.opened(server.address) as channel:
        queues = {key: await rabbitmq.declare(channel, name=key, x_max_length=1) for key in KEYS}
        for key, number in PUBLISHED:
            await channel.default_exchange.publish(Message(b"%d" % number), key)
        return {key: await rabbitmq.rest(queue) for key, queue in queues.items()}


@trial(
    ASKED,
    "rabbitmq",
    "a queue for each key, `x-max-length: 1`",
    holds=True,
    short="{came} came",
    says="{came} messages came, the latest of each key. Each key needs a queue of its own, and who takes the message empties the queue.",
)
def rabbitmq_queue_per_key(server: Server) -> Numbers:
    found = asyncio.run(_queue_per_key(server))
    assert found == {key: [number] for key, number in LATEST.items()}
    return {"came": len(found)}


class Cleaning(Kafka):
    """Looks five times a second for what can be compacted, not every 15 s."""

    def _format(self) -> None:
        super()._format()
        with self.configuration.open("a") as file:
            file.write("log.cleaner.backoff.ms=200\n")


async def _read(server: Server) -> list[tuple[str, int]]:
    """Read a topic from its beginning to its end."""
    async with kafka.consuming(server.address, group=None, auto_offset_reset="earliest") as reader:
        [place] = reader.assignment()
        [end] = (await reader.end_offsets([place])).values()
        found: list[tuple[str, int]] = []
        while await reader.position(place) < end:
            for records in (await reader.getmany(timeout_ms=100)).values():
                found += [(one.key.decode(), int(one.value)) for one in records]
        return found


async def _send(server: Server, *messages: tuple[str, int]) -> None:
    async with kafka.producing(server.address, acks="all") as producer:
        for key, number in messages:
            await producer.send_and_wait(kafka.TOPIC, b"%d" % number, key=key.encode())


@trial(
    ASKED,
    "kafka",
    "`cleanup.policy=delete`",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} messages came.",
    documented=Documented(
        agrees=True,
        says="The default policy deletes what is older or more than retention allows; only `compact` keeps the latest value of each key.",
        source="https://kafka.apache.org/44/configuration/topic-configs/#topicconfigs_cleanup.policy",
    ),
)
def kafka_delete(server: Server) -> Numbers:
    async def run() -> list[tuple[str, int]]:
        await kafka.create(server.address)
        await _send(server, *PUBLISHED)
        return await _read(server)

    assert asyncio.run(run()) == PUBLISHED
    return ALL


async def _compacted(server: Server) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return what is there at once, and when the cleaner has been there."""
    settings: Any = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": "0.01"}
    await kafka.create(server.address, **settings)
    await _send(server, *PUBLISHED)
    at_once = await _read(server)
    await kafka.alter(server.address, segment_ms="1000", **settings)
    found: list[tuple[str, int]] = []

    async def cleaned() -> bool:
        await _send(server, ("owl", 0))  # begins a new segment, when the old one's time is over
        found[:] = [message for message in await _read(server) if message[0] != "owl"]
        return len(found) == len(KEYS)

    await comes(cleaned)
    return at_once, found


@trial(
    ASKED,
    "kafka",
    "`cleanup.policy=compact`, `segment.ms` of 1 s, `log.cleaner.backoff.ms` of 200 ms",
    holds=True,
    short="{came} came, later",
    says="At once all {before} messages came, and the latest {came} of their keys when the cleaner had compacted the closed segment. A reader goes by the last one of a key.",
    documented=Documented(
        agrees=True,
        says="Compaction keeps at least the last value of each key, and does not touch the active segment: a reader of the head sees every message.",
        source="https://kafka.apache.org/44/design/design/#log-compaction",
    ),
)
def kafka_compact(server: Server) -> Numbers:
    with server.another(Cleaning) as own:
        at_once, found = asyncio.run(_compacted(own))
    assert at_once == PUBLISHED
    assert found == [*LATEST.items()]
    return {"before": len(at_once), "came": len(found)}


async def _subjects(server: Server, policy: DeliverPolicy | None, **options: Any) -> list[str]:
    config = StreamConfig(subjects=["videos.*"], **options)
    async with jetstream(server) as context:
        await context.update_stream(config, name=nats.STREAM, subjects=["videos.*"])
        for key, number in PUBLISHED:
            await context.publish(f"videos.{key}", b"%d" % number)
        reader = await context.pull_subscribe(
            "videos.*",
            durable="late",
            stream=nats.STREAM,
            config=ConsumerConfig(deliver_policy=policy),
        )
        waiting = (await reader.consumer_info()).num_pending
        return [message.data.decode() for message in await nats.take(reader, waiting or 0)]


@trial(
    ASKED,
    "nats",
    "`deliver_policy: all`",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} messages came.",
)
def nats_all(server: Server) -> Numbers:
    found = asyncio.run(_subjects(server, None))
    assert found == [str(number) for _, number in PUBLISHED]
    return {"came": len(found)}


@trial(
    ASKED,
    "nats",
    "a subject for each key, `deliver_policy: last_per_subject`",
    holds=True,
    short="{came} came",
    says="{came} messages came, the latest of each subject, while the stream keeps all for others.",
    documented=Documented(
        agrees=True,
        says="`last_per_subject` starts with the newest message of each subject that the consumer matches.",
        source="https://docs.nats.io/learn/jetstream/policies",
    ),
)
def nats_last_per_subject(server: Server) -> Numbers:
    found = asyncio.run(_subjects(server, DeliverPolicy.LAST_PER_SUBJECT))
    assert found == ["8", "9"]
    return {"came": len(found)}


@trial(
    ASKED,
    "nats",
    "a subject for each key, `max_msgs_per_subject: 1`",
    holds=True,
    short="{came} came",
    says="{came} messages came, the latest of each subject. The stream keeps no others.",
)
def nats_one_per_subject(server: Server) -> Numbers:
    found = asyncio.run(_subjects(server, None, max_msgs_per_subject=1))
    assert found == ["8", "9"]
    return {"came": len(found)}


@trial(
    ASKED,
    "redis",
    "`XADD`",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} entries came: a stream knows no key inside of it.",
)
def redis_stream(server: Server) -> Numbers:
    with redis.connected(server) as client:
        redis.grouped(client)
        redis.add(client, *(number for _, number in PUBLISHED))
        found = [body for _, body in redis.read(client, count=100)]
    assert found == [str(number) for _, number in PUBLISHED]
    return {"came": len(found)}


@trial(
    ASKED,
    "redis",
    "a hash, `HSET`, beside the stream or in its place",
    holds=True,
    short="{came} came",
    says="{came} values were there, the latest of each key. Nobody is told of a change unless it goes to a stream too.",
)
def redis_hash(server: Server) -> Numbers:
    with redis.connected(server) as client:
        for key, number in PUBLISHED:
            client.hset("latest", key, number)
        found = client.hgetall("latest")
    assert found == {key: str(number) for key, number in LATEST.items()}
    return {"came": len(found)}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} messages came to the session that had subscribed before, and none to one that subscribed afterwards.",
)
def mqtt_session(server: Server) -> Numbers:
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos/+")
    with mqtt.session(server) as producer:
        for key, number in PUBLISHED:
            producer.publish(f"videos/{key}", str(number))
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.comes(*(str(number) for _, number in PUBLISHED))
    with mqtt.session(server) as late:
        late.subscribe("videos/+")
        late.publish("videos/owl", "now")
        late.comes("now")
    return ALL


@trial(
    ASKED,
    "mqtt",
    "a topic for each key, `retain`",
    holds=True,
    short="{came} came",
    says="{came} messages came to a client that subscribed afterwards, the latest of each topic.",
    documented=Documented(
        agrees=True,
        says="A retained message replaces the one before it of its topic, and goes to whoever subscribes later.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901104",
    ),
)
def mqtt_retained(server: Server) -> Numbers:
    with mqtt.session(server) as producer:
        for key, number in PUBLISHED:
            producer.publish(f"videos/{key}", str(number), retain=True)
    with mqtt.session(server) as late:
        late.subscribe("videos/+")
        late.publish("videos/owl", "now")
        late.settled()
        # Which topic comes first is the server's choice.
        assert sorted(late.bodies()) == ["8", "9", "now"]
        found = [one for one in late.received if one.retain]
    return {"came": len(found)}


@trial(
    ASKED,
    "postgresql",
    "`INSERT`",
    default=True,
    holds=False,
    short="all {came} came",
    says="All {came} messages came.",
)
def postgresql_insert(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, *(str(number) for _, number in PUBLISHED))
        found = [postgresql.work(connection) for _ in PUBLISHED]
    assert found == [str(number) for _, number in PUBLISHED]
    return {"came": len(found)}


@trial(
    ASKED,
    "postgresql",
    "`INSERT … ON CONFLICT (key) DO UPDATE`",
    holds=True,
    short="{came} came",
    says="{came} messages came, the latest of each key.",
    documented=Documented(
        agrees=True,
        says="`ON CONFLICT DO UPDATE` inserts or updates in one atomic step, also when many do it at once.",
        source="https://www.postgresql.org/docs/18/sql-insert.html",
    ),
)
def postgresql_upsert(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD key text UNIQUE")
        for key, number in PUBLISHED:
            connection.execute(
                "INSERT INTO tasks (key, body) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET body = excluded.body",
                [key, str(number)],
            )
        found = [postgresql.work(connection) for _ in KEYS]
        assert postgresql.work(connection) is None
    assert found == ["8", "9"]
    return {"came": len(found)}
