"""Nobody listens, or the name is misspelt: is that confirmed?"""

from __future__ import annotations

import asyncio

import aio_pika
import nats
import psycopg
import pytest
from aio_pika.exceptions import PublishError
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from nats.js.errors import NoStreamResponseError
from pamqp import commands

from tests.atlas.single import configured, with_kafka, with_postgresql, with_redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.atlas.single.with_mqtt import session
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.kafka import Kafka

ASKED = "nobody-listens"
MISSPELT = "video"
CAT = aio_pika.Message(b"cat.mp4")


@trial(
    ASKED,
    "rabbitmq",
    "`mandatory=False`, the protocol's default",
    holds=False,
    short="confirmed and dropped",
    says="The message was confirmed like any other, and was in no queue.",
    documented=Documented(
        agrees=True,
        says="For a message that can't be routed, the broker sends the confirm once it has verified that the message goes to no queue.",
        source="https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed",
    ),
)
def rabbitmq_not_mandatory(server: Server) -> Numbers:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            answer = await channel.default_exchange.publish(CAT, MISSPELT, mandatory=False)
            assert isinstance(answer, commands.Basic.Ack)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`mandatory=True`, aio-pika's default",
    default=True,
    holds=False,
    short="returned, without an exception",
    says="The message came back to the producer. aio-pika raised nothing: its `publish()` returned the message in the place of the confirm, and who does not look at that takes it for confirmed.",
    documented=Documented(
        agrees=True,
        says="If a message is published as mandatory and can't be routed, it is returned to the publisher, which must have a handler for returned messages.",
        source="https://www.rabbitmq.com/docs/publishers#unroutable",
    ),
)
def rabbitmq_mandatory(server: Server) -> Numbers:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            answer = await channel.default_exchange.publish(CAT, MISSPELT)
            assert isinstance(getattr(answer, "delivery", None), commands.Basic.Return)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`mandatory=True`, aio-pika's `on_return_raises=True`",
    holds=True,
    short="returned, as an exception",
    says="The message came back to the producer, and `publish()` raised `PublishError`.",
    documented=Documented(
        agrees=True,
        says="A mandatory message that can't be routed is returned to the producer before it is confirmed.",
        source="https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed",
    ),
)
def rabbitmq_on_return_raises(server: Server) -> Numbers:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel(on_return_raises=True)
            with pytest.raises(PublishError):
                await channel.default_exchange.publish(CAT, MISSPELT)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "an exchange with an `alternate-exchange`",
    holds=True,
    short="kept in another queue",
    says="The message was confirmed, and was in the queue behind the alternate exchange.",
    documented=Documented(
        agrees=True,
        says="What an exchange can't route goes to its alternate exchange, and counts as routed for `mandatory`.",
        source="https://www.rabbitmq.com/docs/ae",
    ),
)
def rabbitmq_alternate_exchange(server: Server) -> Numbers:
    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            lost = await channel.declare_queue("lost", durable=True)
            other = await channel.declare_exchange("lost", "fanout", durable=True)
            await lost.bind(other)
            exchange = await channel.declare_exchange(
                "uploads", "direct", durable=True, arguments={"alternate-exchange": "lost"}
            )
            assert isinstance(await exchange.publish(CAT, MISSPELT), commands.Basic.Ack)
            message = await lost.get(no_ack=True)
            assert (message.body, message.routing_key) == (b"cat.mp4", MISSPELT)

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "kafka",
    "`auto.create.topics.enable=true`",
    default=True,
    holds=False,
    short="in a new topic",
    says="The misspelt topic was created, and the record was confirmed in it, where no consumer looks.",
    documented=Documented(
        agrees=True,
        says="`auto.create.topics.enable` is `true` by default.",
        source="https://kafka.apache.org/44/configuration/broker-configs/#brokerconfigs_auto.create.topics.enable",
    ),
)
def kafka_auto_create(server: Server) -> Numbers:
    assert isinstance(server, Kafka)

    async def proof() -> None:
        async with with_kafka.producing(server.address) as producer:
            assert (await producer.send_and_wait(MISSPELT, b"cat.mp4")).offset == 0

    assert server.topics() == []
    asyncio.run(proof())
    assert server.topics() == [MISSPELT]
    return {}


@trial(
    ASKED,
    "kafka",
    "`auto.create.topics.enable=false`, aiokafka's `request_timeout_ms=5000`",
    holds=True,
    short="refused",
    says="No topic was created. The call ended after the client's time-out with `UnknownTopicOrPartitionError`, before anything was sent.",
)
def kafka_no_auto_create(server: Server) -> Numbers:
    async def proof(own: Server) -> type[KafkaError]:
        async with with_kafka.producing(own.address, request_timeout_ms=5000) as producer:
            with pytest.raises(KafkaError) as caught:
                await producer.send_and_wait(MISSPELT, b"cat.mp4")
            return caught.type

    with server.another(configured.kafka("auto.create.topics.enable=false")) as own:
        assert asyncio.run(proof(own)) is UnknownTopicOrPartitionError
        assert own.topics() == []
    return {}


@trial(
    ASKED,
    "nats",
    "JetStream's publish",
    default=True,
    holds=True,
    short="refused",
    says="No stream has the subject, and `publish()` raised `NoStreamResponseError` at once.",
    documented=Documented(
        agrees=True,
        says="A publish to a subject that no stream captures fails at once with a no-responders error, and nothing is stored.",
        source="https://docs.nats.io/learn/jetstream/publishing",
    ),
)
def nats_jetstream(server: Server) -> Numbers:
    async def proof() -> None:
        async with jetstream(server) as stream:
            with pytest.raises(NoStreamResponseError):
                await stream.publish(MISSPELT, b"cat.mp4")

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "nats",
    "core NATS, without JetStream",
    holds=False,
    short="dropped, without an error",
    says="Nobody had subscribed to the subject. `publish()` and `flush()` went through, and the message was gone: a subscriber that came after that got nothing.",
    documented=Documented(
        agrees=True,
        says="Core NATS delivers at most once, to the subscribers of the moment; if there are none, the message is discarded.",
        source="https://docs.nats.io/concepts/pub-sub-basics",
    ),
)
def nats_core(server: Server) -> Numbers:
    async def proof() -> None:
        async with await nats.connect(server.address) as client:
            await client.publish(MISSPELT, b"cat.mp4")
            await client.flush()
            subscription = await client.subscribe(MISSPELT)
            await client.publish(MISSPELT, b"dog.mp4")
            assert (await subscription.next_msg(timeout=60)).data == b"dog.mp4"

    asyncio.run(proof())
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD`",
    default=True,
    holds=False,
    short="in a new stream",
    says="A stream with the misspelt name was made, and the entry was confirmed in it, where no group looks.",
    documented=Documented(
        agrees=True,
        says="If the key does not exist, `XADD` creates it with a stream.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_xadd(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        assert client.xadd(MISSPELT, {"body": "cat.mp4"})
        assert client.keys() == [MISSPELT]
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD … NOMKSTREAM`",
    holds=False,
    short="refused, without an exception",
    says="No stream was made and nothing was added. redis-py raised nothing: its `xadd()` returned `None` in the place of an id.",
    documented=Documented(
        agrees=True,
        says="With `NOMKSTREAM` no stream is created, and the answer is nil when the key does not exist.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_nomkstream(server: Server) -> Numbers:
    with with_redis.connected(server) as client:
        assert client.xadd(MISSPELT, {"body": "cat.mp4"}, nomkstream=True) is None
        assert client.keys() == []
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 1",
    default=True,
    holds=False,
    short="confirmed and dropped",
    says="The message was confirmed and dropped. In MQTT 5 the confirm is no error, and has the reason code 16, `No matching subscribers`, at which the producer has to look; a subscriber that came after that got nothing.",
    documented=Documented(
        agrees=True,
        says="The reason code 0x10 of a PUBACK says that the message is accepted but there are no subscribers. Only the server sends it, and it may send 0x00 instead.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901124",
    ),
)
def mqtt_qos_1(server: Server) -> Numbers:
    with session(server) as producer, session(server) as late:
        code = producer.publish(MISSPELT, "cat.mp4")
        assert (code.value, str(code), code.is_failure) == (16, "No matching subscribers", False)
        late.subscribe(MISSPELT)
        assert str(producer.publish(MISSPELT, "dog.mp4")) == "Success"
        late.comes("dog.mp4")
    return {}


@trial(
    ASKED,
    "mqtt",
    "QoS 1, `retain`",
    holds=False,
    short="confirmed, the last kept",
    says="The confirm has the same reason code 16. The server kept the message, and gave it to the first who subscribed; of two, it would have kept the last.",
)
def mqtt_retained(server: Server) -> Numbers:
    with session(server) as producer, session(server) as late:
        for body in ("cat.mp4", "dog.mp4"):
            assert producer.publish(MISSPELT, body, retain=True).value == 16
        late.subscribe(MISSPELT)
        late.comes("dog.mp4")
        late.settled()
        assert late.bodies() == ["dog.mp4"]
    return {}


@trial(
    ASKED,
    "postgresql",
    "a queue table",
    default=True,
    holds=True,
    short="refused",
    says="There is no table of the misspelt name, and the `INSERT` failed with `UndefinedTable`. In a table without workers, the row waits.",
)
def postgresql_table(server: Server) -> Numbers:
    with with_postgresql.connect(server) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("INSERT INTO task (body) VALUES ('cat.mp4')")
        with_postgresql.declare(connection)
        with_postgresql.publish(connection, "cat.mp4")
    with with_postgresql.connect(server) as late:
        assert with_postgresql.work(late) == "cat.mp4"
    return {}


@trial(
    ASKED,
    "postgresql",
    "`NOTIFY`",
    holds=False,
    short="dropped, without an error",
    says="Nobody listened. The `NOTIFY` went through like any other, and who listened after that got nothing.",
    documented=Documented(
        agrees=True,
        says="`NOTIFY` sends to each client that has executed `LISTEN` for the channel before.",
        source="https://www.postgresql.org/docs/18/sql-notify.html",
    ),
)
def postgresql_notify(server: Server) -> Numbers:
    with with_postgresql.connect(server) as producer, with_postgresql.connect(server) as late:
        producer.execute("NOTIFY video, 'cat.mp4'")
        late.execute("LISTEN video")
        producer.execute("NOTIFY video, 'dog.mp4'")
        [heard] = late.notifies(timeout=60, stop_after=1)
        assert heard.payload == "dog.mp4"
    return {}
