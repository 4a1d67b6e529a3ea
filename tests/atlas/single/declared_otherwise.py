"""A new version of a service declares its queue with another setting."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import redis as redis_py
from aio_pika.exceptions import ChannelPreconditionFailed
from aiokafka.admin import NewTopic
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import BadRequestError

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.kafka import ask
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

ASKED = "declared-otherwise"
WAITING = 3


async def _declare_again(server: Server) -> list[int]:
    async with rabbitmq.opened(server.address) as channel:
        await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, range(WAITING))
        with pytest.raises(ChannelPreconditionFailed, match="inequivalent arg 'x-max-length'"):
            await rabbitmq.declare(channel, x_max_length=10)
    async with rabbitmq.opened(server.address) as channel:
        return await rabbitmq.rest(await rabbitmq.declare(channel))


@trial(
    ASKED,
    "rabbitmq",
    "`x-max-length` in the arguments of the queue",
    default=True,
    holds=True,
    short="refused",
    says="The declaration was refused with `PRECONDITION_FAILED`, which names the argument, and the channel was closed. The queue and its {there} messages stayed as they were.",
    documented=Documented(
        agrees=True,
        says="A declaration whose attributes are not those of the queue that exists is a channel exception with the code 406, `PRECONDITION_FAILED`.",
        source="https://www.rabbitmq.com/docs/queues",
    ),
)
def rabbitmq_argument(server: Server) -> Numbers:
    there = asyncio.run(_declare_again(server))
    assert there == [*range(WAITING)]
    return {"there": len(there)}


async def _set_policy(server: Rabbitmq) -> list[int]:
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        await rabbitmq.publish(channel, range(WAITING))
        limit = {"pattern": "^videos$", "definition": {"max-length": 2}, "apply-to": "queues"}
        await asyncio.to_thread(server.ask, "policies/%2F/limit", "PUT", limit)
        try:

            def applied() -> bool:
                return bool(server.ask("queues/%2F/videos").get("policy") == "limit")

            await asyncio.to_thread(wait_until, applied, "the policy on the queue")
            await rabbitmq.declare(channel)
            await rabbitmq.publish(channel, [WAITING])
            return await rabbitmq.rest(queue)
        finally:
            await asyncio.to_thread(server.ask, "policies/%2F/limit", "DELETE")


@trial(
    ASKED,
    "rabbitmq",
    "`max-length` in a policy",
    holds=False,
    short="changed, {dropped} dropped",
    says="An operator set a policy with a limit of {limit}. The service declared its queue as before, and the limit held: the oldest {dropped} messages were dropped.",
    documented=Documented(
        agrees=True,
        says="To change an argument, the queue has to be deleted and declared again; policies were introduced to avoid that.",
        source="https://www.rabbitmq.com/docs/policies",
    ),
)
def rabbitmq_policy(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)
    there = asyncio.run(_set_policy(server))
    assert there == [2, 3]
    return {"limit": len(there), "dropped": WAITING + 1 - len(there)}


async def _create_again(server: Server) -> tuple[int, dict[str, str]]:
    await kafka.create(server.address)
    topic = NewTopic(kafka.TOPIC, 3, 1, topic_configs={"retention.ms": "60000"})
    answer = await ask(server.address, lambda admin: admin.create_topics([topic]))
    return answer.topic_errors[0][1], await kafka.configured(server.address)


@trial(
    ASKED,
    "kafka",
    "`CreateTopics` with another `retention.ms`",
    default=True,
    holds=True,
    short="refused",
    says="The request was answered with `TOPIC_ALREADY_EXISTS`, and the topic kept its setting. A service that takes this answer for a success goes on with the old one, as the answer does not say what differs.",
)
def kafka_create(server: Server) -> Numbers:
    already_exists = 36
    code, settings = asyncio.run(_create_again(server))
    assert code == already_exists
    assert settings["retention.ms"] == "604800000"
    return {}


async def _alter(server: Server) -> dict[str, str]:
    await kafka.create(server.address)
    await kafka.alter(server.address, retention_ms="60000")
    return await kafka.configured(server.address)


@trial(
    ASKED,
    "kafka",
    "`AlterConfigs`",
    holds=True,
    short="changed in place",
    says="The topic had the new `retention.ms` at once, without being created again.",
)
def kafka_alter(server: Server) -> Numbers:
    assert asyncio.run(_alter(server))["retention.ms"] == "60000"
    return {}


@trial(
    ASKED,
    "nats",
    "`add_stream` with another `max_msgs`",
    default=True,
    holds=True,
    short="refused",
    says="The request was refused: the name is in use with a different configuration. The stream and its {there} messages stayed as they were.",
)
def nats_add(server: Server) -> Numbers:
    async def run() -> list[str]:
        async with jetstream(server) as context:
            await nats.publish(context, *range(WAITING))
            with pytest.raises(BadRequestError, match="already in use with a different config"):
                await context.add_stream(StreamConfig(name=nats.STREAM, max_msgs=2))
            return await nats.there(context)

    there = asyncio.run(run())
    assert there == ["0", "1", "2"]
    return {"there": len(there)}


@trial(
    ASKED,
    "nats",
    "`update_stream` with another `max_msgs`",
    holds=False,
    short="changed, {dropped} dropped",
    says="The stream had the new limit at once, and {dropped} message that waited was dropped without a warning.",
)
def nats_update(server: Server) -> Numbers:
    async def run() -> list[str]:
        async with jetstream(server) as context:
            await nats.publish(context, *range(WAITING))
            await context.update_stream(StreamConfig(name=nats.STREAM, max_msgs=2))
            return await nats.there(context)

    there = asyncio.run(run())
    assert there == ["1", "2"]
    return {"dropped": WAITING - len(there)}


@trial(
    ASKED,
    "nats",
    "nats-py's `pull_subscribe` with another `ack_wait`",
    holds=False,
    short="ignored",
    says="The durable consumer kept its `ack_wait` of {kept} s. The client found it there, and did not compare it with the {asked} s that it had been asked for.",
)
def nats_subscribe(server: Server) -> Numbers:
    async def run(asked: float) -> float | None:
        async with jetstream(server) as context:
            await nats.durable(context, ack_wait=30)
            worker = await context.pull_subscribe(
                nats.STREAM, durable=nats.DURABLE, config=ConsumerConfig(ack_wait=asked)
            )
            return (await worker.consumer_info()).config.ack_wait

    asked = 300.0
    kept = asyncio.run(run(asked))
    assert kept == 30
    return {"kept": kept, "asked": asked}


@trial(
    ASKED,
    "redis",
    "`XADD … MAXLEN` of another producer",
    default=True,
    holds=False,
    short="{dropped} dropped",
    says="A stream has no limit of its own. A producer of the new version added with `MAXLEN = 2`, which dropped {dropped} entries of those that the old version had added without a limit.",
    documented=Documented(
        agrees=True,
        says="`MAXLEN` is an option of each `XADD`, and trims the stream as that call says.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_maxlen(server: Server) -> Numbers:
    with redis.connected(server) as client:
        redis.grouped(client)
        redis.add(client, *range(WAITING))
        client.xadd(redis.STREAM, {"body": "new"}, maxlen=2, approximate=False)
        there = [body for _, body in redis.read(client, count=10)]
    assert there == ["2", "new"]
    return {"dropped": WAITING + 1 - len(there)}


@trial(
    ASKED,
    "redis",
    "`XGROUP CREATE` with another start",
    holds=True,
    short="refused",
    says="The group was there, and the command was refused with `BUSYGROUP`. The group stayed where it was, and got all {there} entries.",
)
def redis_group(server: Server) -> Numbers:
    with redis.connected(server) as client:
        redis.grouped(client)
        redis.add(client, *range(WAITING))
        with pytest.raises(redis_py.ResponseError, match="BUSYGROUP"):
            client.xgroup_create(redis.STREAM, redis.GROUP, "$")
        there = [body for _, body in redis.read(client, count=10)]
    assert there == ["0", "1", "2"]
    return {"there": len(there)}


@trial(
    ASKED,
    "mqtt",
    "a durable session, then `SessionExpiryInterval` 0",
    default=True,
    holds=False,
    short="accepted, {gone} gone",
    says="The new version took the session over with an expiry of 0 s, and was not refused. When it disconnected, the session was gone, and with it {gone} messages that waited.",
    documented=Documented(
        agrees=True,
        says="The expiry is given anew with each connection; if it is 0 or left out, the session ends when the connection does.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901048",
    ),
)
def mqtt_expiry(server: Server) -> Numbers:
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with mqtt.session(server) as producer:
        for number in range(WAITING):
            producer.publish("videos", str(number))
    with mqtt.session(server, "worker", expiry=0) as worker:
        assert worker.present
    with mqtt.session(server, "worker", expiry=3600) as worker:
        assert not worker.present
        worker.subscribe("videos")
        worker.publish("videos", "next")
        worker.comes("next")
    return {"gone": WAITING}


@trial(
    ASKED,
    "mqtt",
    "a durable session of the same expiry, then a subscription of QoS 0",
    holds=False,
    short="accepted, {gone} lost",
    says="The new subscription replaced the old one without a word, as the protocol has it. {gone} messages that were published while the worker was away were confirmed and dropped, and {there} from before were there.",
    documented=Documented(
        agrees=True,
        says="A subscription with the same topic filter replaces the one that exists; its options can be others.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901170",
    ),
)
def mqtt_qos(server: Server) -> Numbers:
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with mqtt.session(server) as producer:
        for number in range(WAITING):
            producer.publish("videos", str(number))
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos", qos=0)
        worker.comes("0", "1", "2")
    with mqtt.session(server) as producer:
        for number in range(WAITING):
            assert not producer.publish("videos", f"new {number}").is_failure
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.comes("0", "1", "2")
        for message in worker.received:
            worker.ack(message)
        worker.subscribe("videos")
        worker.publish("videos", "next")
        worker.settled()
        assert worker.bodies() == ["0", "1", "2", "next"]
    return {"gone": WAITING, "there": WAITING}


@trial(
    ASKED,
    "postgresql",
    "`CREATE TABLE IF NOT EXISTS` with another column",
    default=True,
    holds=False,
    short="a notice only",
    says="The statement succeeded with a notice that the table exists, and changed nothing. The first statement that used the new column ended with `UndefinedColumn`.",
    documented=Documented(
        agrees=True,
        says="With `IF NOT EXISTS`, a notice is given; there is no guarantee that the table that exists is like the one that would have been created.",
        source="https://www.postgresql.org/docs/18/sql-createtable.html",
    ),
)
def postgresql_if_not_exists(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        notices: list[str | None] = []
        connection.add_notice_handler(lambda said: notices.append(said.message_primary))
        postgresql.declare(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS tasks (id bigint, body text, due date)")
        assert notices == ['relation "tasks" already exists, skipping']
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT due FROM tasks")
    return {}


@trial(
    ASKED,
    "postgresql",
    "`ALTER TABLE … ADD COLUMN IF NOT EXISTS`",
    holds=True,
    short="changed in place",
    says="The table had the new column, and all {there} messages that waited.",
)
def postgresql_alter(server: Server) -> Numbers:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, "0", "1", "2")
        for _ in "ab":
            connection.execute("ALTER TABLE tasks ADD COLUMN IF NOT EXISTS due date")
        there = [body for (body,) in connection.execute("SELECT body FROM tasks WHERE due IS NULL")]
    assert sorted(there) == ["0", "1", "2"]
    return {"there": len(there)}
