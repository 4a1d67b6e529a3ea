"""Messages of one key have to be worked on in order, by several workers"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from zlib import crc32

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from nats.js.api import ConsumerConfig, StreamConfig, SubjectTransform

from tests.atlas.single import shared, with_mqtt, with_nats, with_postgresql, with_rabbitmq
from tests.atlas.single.order import overtook
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_redis import connected
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream

ASKED = "one-key"
MESSAGES = 20
#: Of two partitions, each broker's hash gives each of them one.
KEYS = ("fox", "bear")
OVERTOOK, IN_ORDER = "{overtook} of 20 overtook", "in order, both work"


def key(number: int) -> str:
    """Return a message's key: two of the one, two of the other, and so on."""
    return KEYS[number // 2 % 2]


def by_key(done: list[int]) -> list[list[int]]:
    """Assert that all was done; return the numbers of each key, in the order of the work."""
    assert sorted(done) == [*range(MESSAGES)]
    return [[number for number in done if key(number) == one] for one in KEYS]


def out_of_order(done: list[int]) -> Numbers:
    """Count how many were done before an earlier one of their key, which some were."""
    found = sum(map(overtook, by_key(done)))
    assert found
    return {"overtook": found}


def in_order(fast: list[int], slow: list[int]) -> Numbers:
    """Assert that both worked, and that what they did was in order in each key."""
    assert fast
    assert slow
    assert not sum(map(overtook, by_key(fast + slow)))
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "one queue, no prefetch limit",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="A queue does not look at keys: {overtook} of 20 messages were done before an earlier one of their key.",
)
def rabbitmq_one_queue(server: Server) -> Numbers:
    return out_of_order(asyncio.run(shared.on_rabbitmq(server, MESSAGES)))


@trial(
    ASKED,
    "rabbitmq",
    "exchange of type `x-modulus-hash` (from 4.3), two queues with `x-single-active-consumer`",
    holds=True,
    short=IN_ORDER,
    says="The exchange sent each key to one queue, each queue to one of the workers, and all was done in the order of its key.",
    documented=Documented(
        agrees=True,
        says="As long as its bindings stay the same, the exchange routes a key to the same queue, and a single active consumer works through that in order.",
        source="https://www.rabbitmq.com/docs/modulus-hash-exchange",
    ),
)
def rabbitmq_hashed_to_queues(server: Server) -> Numbers:
    async def proof() -> tuple[list[int], list[int]]:
        done: list[list[int]] = [[], []]

        async def all_came() -> bool:
            return sum(map(len, done)) == MESSAGES

        async with (
            with_rabbitmq.opened(server.address) as one,
            with_rabbitmq.opened(server.address) as other,
        ):
            exchange = await one.declare_exchange("videos", "x-modulus-hash", durable=True)
            for name in ("videos.0", "videos.1"):
                queue = await with_rabbitmq.declare(one, name=name, x_single_active_consumer=True)
                await queue.bind(exchange, "any")
            # Each worker is the first at one queue, and stands by at the other.
            for worker, name in (
                (0, "videos.0"),
                (1, "videos.1"),
                (0, "videos.1"),
                (1, "videos.0"),
            ):

                async def take(message: AbstractIncomingMessage, worker: int = worker) -> None:
                    done[worker].append(int(message.body))
                    await message.ack()

                await (await (one, other)[worker].get_queue(name)).consume(take)
            for number in range(MESSAGES):
                await exchange.publish(aio_pika.Message(b"%d" % number), key(number))
            await comes(all_came)
        return done[1], done[0]

    return in_order(*asyncio.run(proof()))


@trial(
    ASKED,
    "kafka",
    "a topic of two partitions, `key=`",
    holds=True,
    short=IN_ORDER,
    says="The client sent each key to one partition, the group each partition to one of the workers, and all was done in the order of its key.",
    documented=Documented(
        agrees=True,
        says="Events with the same key are written to the same partition, which is read in the order in which it was written.",
        source="https://kafka.apache.org/44/getting-started/introduction/",
    ),
)
def kafka_keys(server: Server) -> Numbers:
    return in_order(*asyncio.run(shared.on_kafka(server, MESSAGES, 2, key)))


@trial(
    ASKED,
    "nats",
    "one durable pull consumer",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="A consumer does not look at keys: {overtook} of 20 messages were done before an earlier one of their key.",
)
def nats_one_consumer(server: Server) -> Numbers:
    return out_of_order(asyncio.run(shared.on_nats(server, MESSAGES)))


@trial(
    ASKED,
    "nats",
    "`subject_transform` with `{{partition(2,1)}}`, two durable consumers with `max_ack_pending=1`",
    holds=True,
    short=IN_ORDER,
    says="The server put each key into one partition, each worker had one partition's consumer, and all was done in the order of its key.",
    documented=Documented(
        agrees=True,
        says="`partition` hashes a token into one of n buckets; the same value is always in the same bucket.",
        source="https://docs.nats.io/learn/jetstream/subject-mapping",
    ),
)
def nats_partitions(server: Server) -> Numbers:
    to = SubjectTransform("videos.*", "videos.{{partition(2,1)}}.{{wildcard(1)}}")

    async def proof() -> tuple[list[int], list[int]]:
        async with jetstream(server) as stream:
            name = with_nats.STREAM
            await stream.delete_stream(name)
            await stream.add_stream(
                StreamConfig(name=name, subjects=["videos.*"], subject_transform=to)
            )
            for number in range(MESSAGES):
                await stream.publish(f"videos.{key(number)}", b"%d" % number)
            done: list[list[int]] = []
            for partition in range(2):
                config = ConsumerConfig(
                    durable_name=f"partition-{partition}",
                    filter_subject=f"videos.{partition}.*",
                    max_ack_pending=1,
                )
                waiting = (await stream.add_consumer(name, replace(config))).num_pending
                worker = await stream.pull_subscribe_bind(config.durable_name, name)
                its: list[int] = []
                for _ in range(waiting or 0):
                    [message] = await with_nats.take(worker)
                    await message.ack_sync()
                    its.append(int(message.data))
                done.append(its)
            return done[1], done[0]

    return in_order(*asyncio.run(proof()))


@trial(
    ASKED,
    "redis",
    "one stream with a group",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="A group does not look at keys: {overtook} of 20 entries were done before an earlier one of their key.",
    documented=Documented(
        agrees=True,
        says="With one stream and several consumers, messages about the same item may be consumed out of order.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_one_stream(server: Server) -> Numbers:
    return out_of_order(shared.on_redis(server, MESSAGES))


@trial(
    ASKED,
    "redis",
    "two streams, which the producer chooses by `crc32(key)`, and a worker for each",
    holds=True,
    short=IN_ORDER,
    says="Redis has no partitions: with two streams and one worker at each, all was done in the order of its key.",
    documented=Documented(
        agrees=True,
        says="N streams with N consumers, where one consumer alone reads a stream, are in order and can be scaled.",
        source="https://redis.io/docs/latest/develop/data-types/streams/",
    ),
)
def redis_two_streams(server: Server) -> Numbers:
    with connected(server) as client:
        for number in range(MESSAGES):
            stream = f"videos.{crc32(key(number).encode()) % 2}"
            client.xadd(stream, {"body": number})
        done = []
        for stream in ("videos.0", "videos.1"):
            client.xgroup_create(stream, "workers", "0")
            its: list[int] = []
            while found := client.xreadgroup("workers", "worker", {stream: ">"}, count=1):
                [[_, [[entry, fields]]]] = found
                assert client.xack(stream, "workers", entry) == 1
                its.append(int(fields["body"]))
            done.append(its)
    return in_order(done[1], done[0])


@trial(
    ASKED,
    "mqtt",
    "`$share/workers/videos`, durable sessions, QoS 1",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="A shared subscription does not look at keys: {overtook} of 20 messages were done before an earlier one of their key.",
    documented=Documented(
        agrees=True,
        says="The server is free to choose which session gets a message, and topics have to be in order only for subscriptions that are not shared (4.8.2, 4.6).",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901250",
    ),
)
def mqtt_shared_subscription(server: Server) -> Numbers:
    return out_of_order(shared.on_mqtt(server, MESSAGES))


@trial(
    ASKED,
    "mqtt",
    "the key in the topic, and one durable session for each, QoS 1",
    holds=True,
    short=IN_ORDER,
    says="MQTT has no partitions: where each worker had subscribed to topics of its own, all was done in the order of its key.",
    documented=Documented(
        agrees=True,
        says="MQTT-4.6.0-5: messages of one topic and QoS have to be passed on in the order in which they came from a client.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901240",
    ),
)
def mqtt_key_in_the_topic(server: Server) -> Numbers:
    with (
        with_mqtt.session(server, "one", expiry=600) as one,
        with_mqtt.session(server, "other", expiry=600) as other,
        with_mqtt.session(server) as producer,
    ):
        for worker, one_key in zip((one, other), KEYS, strict=True):
            worker.subscribe(f"videos/{one_key}")
        for number in range(MESSAGES):
            producer.publish(f"videos/{key(number)}", str(number))
        foxes, bears = by_key([*range(MESSAGES)])
        one.comes(*map(str, foxes))
        other.comes(*map(str, bears))
        return in_order([*map(int, other.bodies())], [*map(int, one.bodies())])


@trial(
    ASKED,
    "postgresql",
    "`FOR UPDATE SKIP LOCKED`",
    default=True,
    holds=False,
    short=OVERTOOK,
    says="The statement does not look at keys: {overtook} of 20 messages were done before an earlier one of their key.",
)
def postgresql_skip_locked(server: Server) -> Numbers:
    return out_of_order(shared.on_postgresql(server, MESSAGES))


OLDEST_OF_ITS_KEY = """
    SELECT id, number FROM tasks
    WHERE id = (SELECT min(id) FROM tasks AS same WHERE same.key = tasks.key)
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"""


@trial(
    ASKED,
    "postgresql",
    "only the oldest row of its key, `FOR UPDATE SKIP LOCKED`",
    holds=True,
    short=IN_ORDER,
    says="While the slow worker was at the first row of one key, the other did all of the other key and got none of the first: all was done in the order of its key.",
)
def postgresql_oldest_of_its_key(server: Server) -> Numbers:
    with with_postgresql.connect(server) as slow, with_postgresql.connect(server) as fast:
        slow.execute(
            "CREATE TABLE tasks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " key text NOT NULL, number int NOT NULL)"
        )
        for number in range(MESSAGES):
            slow.execute("INSERT INTO tasks (key, number) VALUES (%s, %s)", [key(number), number])
        done: tuple[list[int], list[int]] = [], []
        with slow.transaction():
            held = slow.execute(OLDEST_OF_ITS_KEY).fetchone()
            assert held
            while row := fast.execute(OLDEST_OF_ITS_KEY).fetchone():
                with_postgresql.acknowledge(fast, row[0])
                done[0].append(row[1])
            with_postgresql.acknowledge(slow, held[0])
        done[1].append(held[1])
        while row := slow.execute(OLDEST_OF_ITS_KEY).fetchone():
            with_postgresql.acknowledge(slow, row[0])
            done[1].append(row[1])
    assert {key(number) for number in done[0]} == {KEYS[1]}
    return in_order(*done)
