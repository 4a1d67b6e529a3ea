"""A message is given up, and the place for dead letters is missing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from aiokafka import TopicPartition
from nats.aio.client import Client
from nats.errors import TimeoutError as NothingCameError
from nats.js.api import RetentionPolicy, StreamConfig

from tests.atlas.single import with_kafka, with_nats, with_postgresql, with_rabbitmq, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.kafka import Kafka
from tests.brokers.rabbitmq import Rabbitmq

ASKED = "no-dead-letters"


def _given_up(server: Server, kind: str = "classic", **arguments: Any) -> int:
    """Refuse a message of RabbitMQ's for good; return how many messages the server has then."""
    assert isinstance(server, Rabbitmq)

    async def proof() -> int:
        async with with_rabbitmq.opened(server.address) as channel:
            queue = await with_rabbitmq.declare(channel, kind, **arguments)
            await with_rabbitmq.publish(channel, [1])
            await (await queue.get()).reject(requeue=False)
            # The first answer says that the queue has heard of it, the second what it did then.
            return len(await with_rabbitmq.rest(queue) + await with_rabbitmq.rest(queue))

    return asyncio.run(proof())


@trial(
    ASKED,
    "rabbitmq",
    "`reject(requeue=False)`, no dead-letter exchange",
    default=True,
    holds=False,
    short="dropped",
    says="The message was gone, without a word to anybody.",
    documented=Documented(
        agrees=True,
        says="With `requeue` false, the message is routed to a dead-letter exchange if one is configured, and discarded otherwise.",
        source="https://www.rabbitmq.com/docs/nack",
    ),
)
def rabbitmq_nowhere(server: Server) -> Numbers:
    assert _given_up(server) == 0
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`x-dead-letter-exchange` with a name that does not exist",
    holds=False,
    short="dropped",
    says="The queue could be declared, and the message was gone, without a word to anybody.",
    documented=Documented(
        agrees=True,
        says="The exchange need not exist when the queue is declared; if it is missing when messages are dead-lettered, they are silently dropped.",
        source="https://www.rabbitmq.com/docs/dlx",
    ),
)
def rabbitmq_misspelt(server: Server) -> Numbers:
    assert _given_up(server, x_dead_letter_exchange="no-such-exchange") == 0
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `x-dead-letter-strategy: at-least-once`, `x-overflow: reject-publish`, tried again each 0.5 s",
    holds=True,
    short="kept until there",
    says="The message was kept in the queue, where no consumer got it any more. When the exchange and its queue had been made, it arrived there, at the server's next attempt.",
    documented=Documented(
        agrees=True,
        says="With `at-least-once`, messages stay in the source queue until the dead-letter queue has confirmed them, also while the exchange does not exist; the server tries again periodically.",
        source="https://www.rabbitmq.com/docs/quorum-queues",
    ),
)
def rabbitmq_at_least_once(server: Server) -> Numbers:
    kept = {
        "x_dead_letter_exchange": "dead",
        "x_dead_letter_strategy": "at-least-once",
        "x_overflow": "reject-publish",
    }
    assert isinstance(server, Rabbitmq)
    server.control("eval", f"application:set_env(rabbit, {RETRY}, 500).")
    try:
        _at_least_once(server, kept)
    finally:
        server.control("eval", f"application:unset_env(rabbit, {RETRY}).")
    return {}


RETRY = "dead_letter_worker_publisher_confirm_timeout"


def _at_least_once(server: Server, kept: dict[str, str]) -> None:
    assert _given_up(server, "quorum", **kept) == 0

    async def proof() -> None:
        async with with_rabbitmq.opened(server.address) as channel:
            dead = await with_rabbitmq.declare(channel, name="dead")
            await dead.bind(await channel.declare_exchange("dead", "fanout", durable=True), "")

            async def came() -> bool:
                return await with_rabbitmq.rest(dead) == [1]

            await comes(came)

    asyncio.run(proof())


async def _end(server: Server, name: str) -> int:
    async with with_kafka.consuming(server.address, name, group=None) as consumer:
        place = TopicPartition(name, 0)
        return int((await consumer.end_offsets([place]))[place])


@trial(
    ASKED,
    "kafka",
    "a consumer group, which commits the offset behind it",
    default=True,
    holds=False,
    short="passed over",
    says="The group never got the record again. It stayed in the topic until its retention ends, and nothing marks it as given up.",
    documented=Documented(
        agrees=True,
        says="What a group has consumed of a partition is a single number, the offset of the next message.",
        source="https://kafka.apache.org/44/design/design/#consumer-position",
    ),
)
def kafka_passed_over(server: Server) -> Numbers:
    async def proof() -> None:
        [place] = await with_kafka.create(server.address)
        await with_kafka.publish(server.address, [1, 2])
        for number in (b"1", b"2"):
            async with with_kafka.consuming(
                server.address, enable_auto_commit=False, auto_offset_reset="earliest"
            ) as consumer:
                record = await consumer.getone()
                assert record.value == number
                await consumer.commit({place: record.offset + 1})
        assert await _end(server, place.topic) == 2

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "the worker publishes it to a topic for dead letters that does not exist, `auto.create.topics.enable=true`",
    holds=True,
    short="in a new topic",
    says="The topic was created, with the server's default retention, and the record was in it.",
)
def kafka_new_topic(server: Server) -> Numbers:
    assert isinstance(server, Kafka)

    async def proof() -> None:
        async with with_kafka.producing(server.address) as producer:
            await producer.send_and_wait("dead", b"1")
        assert await _end(server, "dead") == 1

    assert server.topics() == []
    asyncio.run(proof())
    assert server.topics() == ["dead"]
    return {}


TERMINATED = f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{with_nats.STREAM}.{with_nats.DURABLE}"


async def _term(server: Server, config: StreamConfig) -> list[str]:
    """Terminate a message, of which NATS publishes an advisory; return what is in the stream."""
    async with jetstream(server, stream=config) as stream:
        client: Client = stream._nc
        heard = await client.subscribe(TERMINATED)
        worker = await with_nats.durable(stream, ack_wait=1)
        await with_nats.publish(stream, "cat.mp4")
        [message] = await with_nats.take(worker)
        await message.term()
        await heard.next_msg(timeout=SECONDS)
        with pytest.raises(NothingCameError):
            await worker.fetch(1, timeout=3)
        return await with_nats.there(stream)


@trial(
    ASKED,
    "nats",
    "`term()`, `retention: limits`",
    default=True,
    holds=True,
    short="stays in the stream",
    says="The durable consumer never got the message again. It stayed in the stream, and the server published an advisory that names it, for whoever has subscribed to that.",
    documented=Documented(
        agrees=True,
        says="After a `term`, the message is not delivered to this consumer again, and stays in a stream of `Limits` retention; the server publishes an advisory.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_term(server: Server) -> Numbers:
    assert asyncio.run(_term(server, StreamConfig())) == ["cat.mp4"]
    return {}


@trial(
    ASKED,
    "nats",
    "`term()`, `retention: workqueue`",
    holds=False,
    short="dropped",
    says="The message was removed from the stream. What is left is an advisory without its body, for whoever had subscribed to that before.",
    documented=Documented(
        agrees=True,
        says="On a stream of `WorkQueue` retention, a `term` removes the message as an acknowledgement would, and the server publishes an advisory.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_work_queue(server: Server) -> Numbers:
    config = StreamConfig(retention=RetentionPolicy.WORK_QUEUE)
    assert asyncio.run(_term(server, config)) == []
    return {}


@trial(
    ASKED,
    "nats",
    "`max_deliver: 2`, `ack_wait: 1s`, `retention: workqueue`",
    holds=True,
    short="stays in the stream",
    says="After two deliveries the durable consumer never got the message again. It stayed in the stream, also in one that is a work queue, and has to be looked for by its number, which an advisory tells.",
    documented=Documented(
        agrees=True,
        says="A message that has reached `MaxDeliver` stays in the stream and is not delivered again. JetStream has no dead-letter queue; it publishes an advisory.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_max_deliver(server: Server) -> Numbers:
    async def proof() -> None:
        config = StreamConfig(retention=RetentionPolicy.WORK_QUEUE)
        async with jetstream(server, stream=config) as stream:
            heard = await stream._nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
            worker = await with_nats.durable(stream, ack_wait=1, max_deliver=2)
            await with_nats.publish(stream, "cat.mp4")
            for _ in range(2):
                await with_nats.take(worker)
            async with asyncio.timeout(SECONDS):
                while not heard.pending_msgs:  # it is told when somebody asks once more
                    with suppress(NothingCameError):
                        assert await worker.fetch(1, timeout=1) == []
            assert await with_nats.there(stream) == ["cat.mp4"]

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "redis",
    "`XACK`",
    default=True,
    holds=False,
    short="stays, unmarked",
    says="The worker acknowledged it, as Redis 8.0 knows no other way to give an entry up. The group never got it again; it stayed in the stream until that is trimmed, and nothing marks it as given up.",
    documented=Documented(
        agrees=True,
        says="To know which entries can't be processed, the number of deliveries in the pending list helps; such messages go to another stream by the application's own work.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_xack(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, "cat.mp4")
        [(number, _)] = with_redis.read(client)
        assert client.xack(with_redis.STREAM, with_redis.GROUP, number) == 1
        assert with_redis.read(client) == with_redis.read(client, start="0") == []
        assert with_redis.there(client) == ["cat.mp4"]
    return {}


@trial(
    ASKED,
    "redis",
    "`MULTI`: `XADD` to a stream for dead letters that does not exist, and `XACK`",
    holds=True,
    short="in a new stream",
    says="The stream was made, and in one transaction the entry was in it and acknowledged.",
)
def redis_multi(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, "cat.mp4")
        [(number, body)] = with_redis.read(client)
        with client.pipeline(transaction=True) as both:
            both.xadd("dead", {"body": body, "from": number})
            both.xack(with_redis.STREAM, with_redis.GROUP, number)
            assert both.execute()[1] == 1
        assert [fields["body"] for _, fields in client.xrange("dead")] == ["cat.mp4"]
        assert with_redis.read(client, start="0") == []
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, the worker acknowledges it",
    default=True,
    holds=False,
    short="dropped",
    says="The worker acknowledged it, as MQTT knows no other end for a delivery, and it was gone.",
    documented=Documented(
        agrees=True,
        says="The receiver of a QoS 1 message has to answer with a PUBACK. One that reports a failure counts as an acknowledgement, too (4.4).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901236",
    ),
)
def mqtt_acknowledged(server: Server) -> Numbers:
    with session(server, "worker", expiry=600) as worker:
        worker.subscribe("videos")
        with session(server) as producer:
            producer.publish("videos", "cat.mp4")
        worker.comes("cat.mp4")
        worker.ack(worker.received[0])
        worker.settled()
    with session(server, "worker", expiry=600) as worker:
        worker.settled()
        assert (worker.present, worker.bodies()) == (True, [])
    return {}


@trial(
    ASKED,
    "mqtt",
    "the worker publishes it to a topic for dead letters that nobody has subscribed to",
    holds=False,
    short="confirmed and dropped",
    says="The copy was confirmed with the reason code 16, `No matching subscribers`, which is no error, and was gone.",
)
def mqtt_nobody(server: Server) -> Numbers:
    with session(server) as worker, session(server) as late:
        code = worker.publish("videos/dead", "cat.mp4")
        assert (code.value, code.is_failure) == (16, False)
        late.subscribe("videos/dead")
        late.settled()
        assert late.bodies() == []
    return {}


GIVE_UP = "WITH gone AS (DELETE FROM tasks WHERE id = %s RETURNING body) INSERT INTO dead SELECT body FROM gone"


@trial(
    ASKED,
    "postgresql",
    "`DELETE … RETURNING` and `INSERT INTO dead` in one statement, the table missing",
    holds=True,
    short="refused; stays",
    says="The statement failed with `UndefinedTable`, and the message stayed in the queue, for the next worker to try again.",
    documented=Documented(
        agrees=True,
        says="If a failure keeps a transaction from completing, none of its steps affects the database.",
        source="https://www.postgresql.org/docs/18/tutorial-transactions.html",
    ),
)
def postgresql_table_missing(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "cat.mp4")
        taken = with_postgresql.take(connection)
        assert taken
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute(GIVE_UP, [taken[0]])
        assert with_postgresql.work(connection) == "cat.mp4"
    return {}


@trial(
    ASKED,
    "postgresql",
    "`DELETE`",
    holds=False,
    short="dropped",
    says="The row was gone, like one whose work was done.",
)
def postgresql_delete(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "cat.mp4")
        assert with_postgresql.work(connection) == "cat.mp4"
        assert with_postgresql.waiting(connection) == []
    return {}
