"""A message that always fails: does it end?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from aio_pika.abc import AbstractIncomingMessage
from confluent_kafka import Consumer, TopicPartition
from nats.errors import TimeoutError as NothingCameError
from nats.js.api import ConsumerConfig

from tests.atlas.single import with_kafka, with_mqtt, with_postgresql, with_rabbitmq
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import SECONDS, jetstream
from tests.types import test_share_groups as share

ASKED = "always-fails"
TIMES = 30
Give = Callable[[AbstractIncomingMessage], Any]


def _nack(message: AbstractIncomingMessage) -> Any:
    return message.nack(requeue=True)


def _reject(message: AbstractIncomingMessage) -> Any:
    return message.reject(requeue=True)


async def _rabbitmq(
    server: Server, give_back: Give, kind: str, **arguments: Any
) -> tuple[int, list[int]]:
    """Give the first message back, up to thirty times; return how often it came, and the dead."""
    async with with_rabbitmq.opened(server.address, prefetch=1) as channel:
        dead = await with_rabbitmq.declare(channel, name="dead")
        queue = await with_rabbitmq.declare(channel, kind, **arguments)
        await with_rabbitmq.publish(channel, [0, 1])
        came = 0
        taken = asyncio.Queue[AbstractIncomingMessage]()
        await queue.consume(taken.put)
        # What is given back comes before the one behind it, which tells that it comes no more.
        while int((message := await asyncio.wait_for(taken.get(), SECONDS)).body) == 0:
            came += 1
            if came == TIMES:
                break
            await give_back(message)
        if came == TIMES:
            return came, []
        letters: list[int] = []
        if arguments:
            async with asyncio.timeout(SECONDS), dead.iterator() as rest:
                letters = [int((await anext(rest)).body)]
        return came, letters


@trial(
    ASKED,
    "rabbitmq",
    "classic queue",
    default=True,
    holds=False,
    short="no end",
    says="The message came all thirty times, always before the message behind it.",
)
def rabbitmq_classic(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, _reject, "classic")) == (TIMES, [])
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.nack`",
    holds=False,
    short="no end",
    says="The message came all thirty times: since 4.3, what is given back by `basic.nack` does not count towards the delivery limit.",
    documented=Documented(
        agrees=True,
        says="`basic.nack` does not increment the delivery count, which the limit is compared with.",
        source="https://www.rabbitmq.com/docs/4.3/nack",
    ),
)
def rabbitmq_quorum_nack(server: Server) -> Numbers:
    assert asyncio.run(_rabbitmq(server, _nack, "quorum")) == (TIMES, [])
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.reject`",
    holds=False,
    short="dropped after {came}",
    says="The message came {came} times; then it was over the delivery limit of 20, and the server dropped it.",
    documented=Documented(
        agrees=True,
        says="The limit is 20 by default. A message that has been redelivered more often is dropped, or dead-lettered if that is configured.",
        source="https://www.rabbitmq.com/docs/4.3/quorum-queues#poison-message-handling",
    ),
)
def rabbitmq_quorum_reject(server: Server) -> Numbers:
    came, _ = asyncio.run(_rabbitmq(server, _reject, "quorum"))
    assert came == 21
    with_nothing = asyncio.run(_left(server))
    assert with_nothing == []
    return {"came": came}


async def _left(server: Server) -> list[int]:
    async with with_rabbitmq.opened(server.address) as channel:
        found = [await with_rabbitmq.rest(await channel.get_queue("dead"))]
        found.append(await with_rabbitmq.rest(await channel.get_queue("videos")))
        return [number for numbers in found for number in numbers if number == 0]


@trial(
    ASKED,
    "rabbitmq",
    "quorum queue, `basic.reject`, `x-delivery-limit` 4, `x-dead-letter-exchange`",
    holds=True,
    short="dead-lettered after {came}",
    says="The message came {came} times; then the server moved it to the queue of dead letters, and the message behind it was next.",
    documented=Documented(
        agrees=True,
        says="A message that has been redelivered more often than the limit says is dead-lettered if that is configured.",
        source="https://www.rabbitmq.com/docs/4.3/quorum-queues#poison-message-handling",
    ),
)
def rabbitmq_dead_letters(server: Server) -> Numbers:
    dies = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
    came, letters = asyncio.run(_rabbitmq(server, _reject, "quorum", x_delivery_limit=4, **dies))
    assert (came, letters) == (5, [0])
    return {"came": came}


@trial(
    ASKED,
    "kafka",
    "`seek()` back to its offset",
    holds=False,
    short="no end",
    says="An ordinary consumer can't give a record back, only its own position. The worker went back thirty times and got the same record, and all that was behind it waited.",
)
def kafka_seek(server: Server) -> Numbers:
    async def proof() -> None:
        [place] = await with_kafka.create(server.address)
        await with_kafka.publish(server.address, [0, 1])
        async with with_kafka.consuming(server.address, auto_offset_reset="earliest") as consumer:
            for _ in range(TIMES):
                record = await asyncio.wait_for(consumer.getone(), SECONDS)
                assert record.value == b"0"
                consumer.seek(place, record.offset)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "the worker's own count, and a topic for dead letters",
    holds=True,
    short="dead-lettered after {came}",
    says="After its fifth failure the worker published the record to another topic, waited for the confirm and committed; the record behind it was next.",
)
def kafka_dead_topic(server: Server) -> Numbers:
    async def proof() -> int:
        address, early = server.address, {"auto_offset_reset": "earliest"}
        [place] = await with_kafka.create(address)
        [dead] = await with_kafka.create(address, "dead")
        await with_kafka.publish(address, [0, 1])
        came = 0
        async with (
            with_kafka.producing(address, acks="all") as producer,
            with_kafka.consuming(address, enable_auto_commit=False, **early) as consumer,
        ):
            while (record := await asyncio.wait_for(consumer.getone(), SECONDS)).value == b"0":
                came += 1
                assert came <= 5
                if came < 5:
                    consumer.seek(place, record.offset)
                    continue
                await producer.send_and_wait(dead.topic, record.value, record.key)
                await consumer.commit({place: record.offset + 1})
        async with with_kafka.consuming(address, dead.topic, group="operator", **early) as letters:
            assert (await asyncio.wait_for(letters.getone(), SECONDS)).value == b"0"
        return came

    return {"came": asyncio.run(proof())}


def _released(server: Server, **settings: str) -> int:
    """Give a record of a share group back until another comes; return how often it came."""
    share.create(server, share.TOPIC)
    share.configure(server, share_auto_offset_reset="earliest", **settings)
    came = 0
    with share.worker(server) as worker:
        share.publish(server, "cat")
        while "dog" not in (found := share.take(worker)):
            came += 1
            share.settle(worker, found["cat"], share.RELEASE)
            if came == 5:
                share.publish(server, "dog")
            assert came <= TIMES
    assert [*found] == ["dog"]
    return came


@trial(
    ASKED,
    "kafka",
    "share group, the worker releases it",
    holds=False,
    short="skipped after {came}",
    says="The record came {came} times; then the group was done with it, and nobody in the group got it again. It stayed in the topic, among all that was done.",
    documented=Documented(
        agrees=True,
        says="A record that is released when its deliveries have reached the limit is archived: it is not delivered again.",
        source="https://cwiki.apache.org/confluence/display/KAFKA/KIP-932%3A+Queues+for+Kafka",
    ),
)
def kafka_share_group(server: Server) -> Numbers:
    came = _released(server)
    assert came == 5
    return {"came": came}


@trial(
    ASKED,
    "kafka",
    "share group, `errors.deadletterqueue.topic.name`, `errors.deadletterqueue.copy.record.enable=true`",
    holds=False,
    short="dead-lettered after {came}, without headers",
    says="The record came {came} times; then the server put its key and its body into the topic for dead letters, with the reason. The headers that the producer had set were missing there.",
)
def kafka_share_group_with_dead_letters(server: Server) -> Numbers:
    share.create(server, share.DEAD, errors_deadletterqueue_group_enable="true")
    came = _released(
        server,
        errors_deadletterqueue_topic_name=share.DEAD,
        errors_deadletterqueue_copy_record_enable="true",
    )
    operator = {"bootstrap.servers": server.address, "group.id": "operator"}
    with Consumer(operator) as letters:
        letters.assign([TopicPartition(share.DEAD, 0, 0)])
        [letter] = share.take(letters).values()
    assert (letter.key(), letter.value(), came) == (b"cat", b"transcode", 5)
    found = share.headers(letter)
    assert found["message"] == b"Offset delivery count exceeded the threshold."
    assert "trace" not in found
    return {"came": came}


@trial(
    ASKED,
    "nats",
    "`nak()`, `max_deliver` -1",
    default=True,
    holds=False,
    short="no end",
    says="The message came all thirty times, and each delivery had its number.",
    documented=Documented(
        agrees=True,
        says="`MaxDeliver` is -1 by default, which means no limit: a message can be delivered again for ever.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_no_limit(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server) as stream:
            workers = await stream.pull_subscribe("videos", durable="workers")
            assert (await workers.consumer_info()).config.max_deliver == -1
            await stream.publish("videos", b"0")
            for number in range(1, TIMES + 1):
                [message] = await workers.fetch(1, timeout=SECONDS)
                assert message.metadata.num_delivered == number
                await message.nak()

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "nats",
    "`nak()`, `max_deliver` 5",
    holds=True,
    short="set aside after {came}",
    says="The message came {came} times; then nobody got it any more. It stayed in the stream, and an advisory told its number to whoever listened.",
    documented=Documented(
        agrees=True,
        says="A message that has reached `MaxDeliver` is not delivered again and stays in the stream; the server publishes an advisory.",
        source="https://docs.nats.io/learn/jetstream/acknowledgment",
    ),
)
def nats_max_deliver(server: Server) -> Numbers:
    async def proof() -> int:
        async with jetstream(server) as stream:
            advisories = await stream._nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
            config = ConsumerConfig(max_deliver=5)
            workers = await stream.pull_subscribe("videos", durable="workers", config=config)
            await stream.publish("videos", b"0")
            came = 0
            while True:
                [message] = await workers.fetch(1, timeout=SECONDS)
                if message.data == b"1":
                    break
                came += 1
                given_up = message.metadata.sequence.stream
                if came == 5:
                    await stream.publish("videos", b"1")
                await message.nak()
            await message.ack_sync()
            hears = asyncio.create_task(advisories.next_msg(timeout=SECONDS))
            while not hears.done():  # the server gives a message up when somebody asks for one
                with suppress(NothingCameError):
                    assert not await workers.fetch(1, timeout=0.5)
            told = json.loads((await hears).data)
            assert told["stream_seq"] == given_up
            kept = await stream.get_msg("videos", told["stream_seq"])
            assert kept.data == b"0"
            return came

    came = asyncio.run(proof())
    assert came == 5
    return {"came": came}


def _redis_group(client: Any) -> bytes:
    """Make a group with one message, which a worker has got for the first time."""
    client.xgroup_create("videos", "workers", "0", mkstream=True)
    entry: bytes = client.xadd("videos", {"number": 0})
    client.xreadgroup("workers", "A", {"videos": ">"})
    return entry


@trial(
    ASKED,
    "redis",
    "`XAUTOCLAIM`",
    default=True,
    holds=False,
    short="no end",
    says="The message came all thirty times that a worker claimed it. The server counted, and set no limit.",
)
def redis_no_limit(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        entry = _redis_group(client)
        for _ in range(TIMES - 1):
            [(number, _)] = client.xautoclaim("videos", "workers", "A", 0)[1]
            assert number == entry
        [pending] = client.xpending_range("videos", "workers", "-", "+", 10)
        assert pending["times_delivered"] == TIMES
    return {}


@trial(
    ASKED,
    "redis",
    "the worker compares `XPENDING`'s count, and `XADD`s to another stream",
    holds=True,
    short="dead-lettered after {came}",
    says="The message came {came} times. The worker, which looked at the count before it began, then added it to another stream and acknowledged it, in one `MULTI`.",
    documented=Documented(
        agrees=True,
        says="`XCLAIM` increments the count of deliveries, so that what crashes its consumers can be detected.",
        source="https://redis.io/docs/latest/commands/xclaim/",
    ),
)
def redis_dead_stream(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        entry = _redis_group(client)
        came = 1
        while found := client.xautoclaim("videos", "workers", "A", 0, start_id="0")[1]:
            [pending] = client.xpending_range("videos", "workers", entry, entry, 1)
            if pending["times_delivered"] > 5:
                [(_, fields)] = found
                with client.pipeline(transaction=True) as both:
                    both.xadd("dead", fields).xack("videos", "workers", entry).execute()
                break
            came += 1
            assert came <= TIMES
        [(_, letter)] = client.xrange("dead")
        assert letter == {b"number": b"0"}
        assert client.xpending("videos", "workers")["pending"] == 0
    assert came == 5
    return {"came": came}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, the worker disconnects",
    default=True,
    holds=False,
    short="no end",
    says="MQTT has no way to give a message back; the worker disconnected instead, thirty times. The message came each time, from the second on marked as a duplicate, without a number.",
)
def mqtt_disconnects(server: Server) -> Numbers:
    with with_mqtt.session(server, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
        worker.publish("videos", "0")
        worker.comes("0")
    for _ in range(TIMES - 1):
        with with_mqtt.session(server, "worker", expiry=3600) as worker:
            worker.comes("0")
            assert worker.received[0].dup
    return {}


@trial(
    ASKED,
    "mqtt",
    "durable session, QoS 1, the worker publishes it to a topic for dead letters",
    holds=True,
    short="dead-lettered at once",
    says="As nothing counts the deliveries, the worker gave the message up when it failed for the first time: it published it to another topic, was told that somebody has it, and acknowledged. The message behind it was next.",
)
def mqtt_dead_topic(server: Server) -> Numbers:
    with with_mqtt.session(server, "operator", expiry=3600) as operator:
        operator.subscribe("dead")
    with with_mqtt.session(server, "worker", expiry=3600, prefetch=1) as worker:
        worker.subscribe("videos")
        for body in ("0", "1"):
            worker.publish("videos", body)
        worker.comes("0")
        assert worker.publish("dead", "0") == 0  # else there was no subscriber
        worker.ack(worker.received[0])
        worker.comes("0", "1")
    with with_mqtt.session(server, "worker", expiry=3600) as worker:
        worker.comes("1")
    with with_mqtt.session(server, "operator", expiry=3600) as operator:
        operator.comes("0")
    return {}


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`, the worker rolls back",
    default=True,
    holds=False,
    short="no end",
    says="The message came all thirty times, always before the row behind it.",
)
def postgresql_rolls_back(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "0", "1")
        for _ in range(TIMES):
            with connection.transaction(force_rollback=True):
                taken = with_postgresql.take(connection)
                assert taken
                assert taken[1] == "0"
    return {}


COUNT = """
UPDATE tasks SET attempts = attempts + 1 WHERE id = (
  SELECT id FROM tasks WHERE attempts < 5 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING body"""


@trial(
    ASKED,
    "postgresql",
    "a column `attempts`, committed before the work",
    holds=True,
    short="set aside after {came}",
    says="The message came {came} times; then the query, which asks for rows with fewer attempts, took the one behind it. The row stayed in the table, with its count.",
)
def postgresql_attempts(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with_postgresql.declare(connection)
        connection.execute("ALTER TABLE tasks ADD attempts int NOT NULL DEFAULT 0")
        with_postgresql.publish(connection, "0", "1")
        came = 0
        while connection.execute(COUNT).fetchone() == ("0",):
            came += 1
            assert came <= TIMES
        row = connection.execute("SELECT attempts FROM tasks WHERE body = '0'").fetchone()
    assert (came, row) == (5, (5,))
    return {"came": came}
