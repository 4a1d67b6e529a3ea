"""An operator deletes a queue that is in use: what do producer and consumer see?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
import psycopg
import pytest
import redis as redis_py
from aio_pika.exceptions import DeliveryError
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.kafka import Kafka, ask
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until

ASKED = "deleted-in-use"
UNREAD = 3


async def _delete_queue(server: Server, *, mandatory: bool) -> bool:
    """Delete a queue while a consumer waits; return whether the producer was told."""
    assert isinstance(server, Rabbitmq)
    async with (
        rabbitmq.opened(server.address, prefetch=1) as channel,
        await aio_pika.connect(server.address) as connection,
    ):
        queue = await rabbitmq.declare(channel)
        got = asyncio.Queue[bytes]()

        async def consume() -> None:
            async with queue.iterator() as messages:
                async for message in messages:
                    got.put_nowait(message.body)

        worker = asyncio.create_task(consume())
        await rabbitmq.publish(channel, range(UNREAD))
        async with asyncio.timeout(60):
            assert await got.get() == b"0"
            await asyncio.to_thread(server.ask, "queues/%2F/videos", "DELETE")
        sender = await connection.channel(on_return_raises=True)
        try:
            await sender.default_exchange.publish(
                aio_pika.Message(b"late"), queue.name, mandatory=mandatory
            )
            told = False
        except DeliveryError:
            told = True
        # A queue that is made again gets the next message, and the consumer does not.
        again = await rabbitmq.declare(sender)
        await rabbitmq.publish(sender, [UNREAD])
        assert await rabbitmq.rest(again) == [UNREAD]
        assert got.empty()
        assert not worker.done()
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        return told


@trial(
    ASKED,
    "rabbitmq",
    "a publish without `mandatory`",
    default=True,
    holds=False,
    short="gone; new ones dropped",
    says="The unread messages were gone. aio-pika's iterator waited on without an error, also when the queue had been made again. What was published afterwards was confirmed and dropped.",
    documented=Documented(
        agrees=True,
        says="When a queue is deleted, the server sends its consumers `basic.cancel`, if the client has said that it understands it. What to do then is the client's part.",
        source="https://www.rabbitmq.com/docs/consumer-cancel",
    ),
)
def rabbitmq_default(server: Server) -> Numbers:
    assert not asyncio.run(_delete_queue(server, mandatory=False))
    return {}


@trial(
    ASKED,
    "rabbitmq",
    "`mandatory`, `on_return_raises`",
    holds=False,
    short="gone; producer is told",
    says="The unread messages were gone. aio-pika's iterator waited on without an error, also when the queue had been made again. What was published afterwards was returned to the producer, as an error.",
)
def rabbitmq_mandatory(server: Server) -> Numbers:
    assert asyncio.run(_delete_queue(server, mandatory=True))
    return {}


@asynccontextmanager
async def _consuming(server: Kafka) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer whose end is not waited for: without its topic, it may not come."""
    worker = AIOKafkaConsumer(
        kafka.TOPIC,
        bootstrap_servers=server.address,
        group_id=kafka.GROUP,
        auto_offset_reset="earliest",
    )
    await worker.start()
    try:
        yield worker
    finally:
        stopped = asyncio.ensure_future(worker.stop())
        await asyncio.wait([stopped], timeout=5)
        stopped.cancel()


def _deleted(server: Kafka) -> bool:
    return any((server.data / "log").glob(f"{kafka.TOPIC}-0.*-delete"))


async def _delete_topic(server: Kafka) -> int | None:
    """Delete a topic that a producer and a consumer use.

    Return how many messages a reader finds after another publish, or None if that fails.
    """
    await kafka.create(server.address)
    async with (
        _consuming(server) as worker,
        kafka.producing(server.address, acks="all", request_timeout_ms=5000) as producer,
    ):
        for number in range(UNREAD):
            await producer.send_and_wait(kafka.TOPIC, b"%d" % number)
        for _ in range(UNREAD):
            await worker.getone()
        waits = asyncio.create_task(worker.getone())
        await ask(server.address, lambda admin: admin.delete_topics([kafka.TOPIC]))
        # Its folder has another name now. A client may have made the topic again by then.
        await asyncio.to_thread(wait_until, lambda: _deleted(server), "the topic to be deleted")
        try:
            await producer.send_and_wait(kafka.TOPIC, b"late")
        except KafkaError:
            return None
        finally:
            assert not waits.done() or waits.exception() is None
            waits.cancel()
    async with kafka.consuming(server.address, group=None, auto_offset_reset="earliest") as reader:
        assert (await reader.getone()).value == b"late"
        [place] = reader.assignment()
        return int((await reader.end_offsets([place]))[place])


@trial(
    ASKED,
    "kafka",
    "`auto.create.topics.enable=true`",
    default=True,
    holds=False,
    short="gone; made again, empty",
    says="The messages were gone. The next publish was confirmed: the server had made the topic again, with the settings of its default, and {there} message was in it. The consumer saw no error.",
    documented=Documented(
        agrees=True,
        says="`auto.create.topics.enable`, which is true by default, lets the server create topics by itself.",
        source="https://kafka.apache.org/44/configuration/broker-configs/#brokerconfigs_auto.create.topics.enable",
    ),
)
def kafka_default(server: Server) -> Numbers:
    assert isinstance(server, Kafka)
    there = asyncio.run(_delete_topic(server))
    assert there == 1
    return {"there": there}


class Strict(Kafka):
    """Kafka that makes no topic by itself."""

    def _format(self) -> None:
        super()._format()
        with self.configuration.open("a") as file:
            file.write("auto.create.topics.enable=false\n")


@trial(
    ASKED,
    "kafka",
    "`auto.create.topics.enable=false`",
    holds=False,
    short="gone; producer is told",
    says="The messages were gone. The next publish ended with an error. The consumer saw none.",
)
def kafka_strict(server: Server) -> Numbers:
    with server.another(Strict) as own:
        assert asyncio.run(_delete_topic(own)) is None
        assert not asyncio.run(ask(own.address, lambda admin: _ours(admin.list_topics())))
    return {}


async def _ours(topics: Any) -> list[str]:
    return [name for name in await topics if not name.startswith("__")]


@trial(
    ASKED,
    "nats",
    "a stream with a durable pull consumer",
    default=True,
    holds=False,
    short="gone; next call tells",
    says="The unread messages were gone. nats-py's fetch that waited ended at its time limit with nothing, as if no message had come. The next fetch and the next publish each ended with an error.",
    documented=Documented(
        agrees=True,
        says="A pull ends with the status 409, Consumer Deleted, which the client should tell its user as an error.",
        source="https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-37.md",
    ),
)
def nats_default(server: Server) -> Numbers:
    async def run() -> None:
        async with jetstream(server) as context:
            worker = await nats.durable(context)
            waits = asyncio.create_task(worker.fetch(UNREAD, timeout=5))

            async def fetching() -> bool:
                return (await worker.consumer_info()).num_waiting == 1

            await comes(fetching)
            await context.delete_stream(nats.STREAM)
            assert not await waits
            with pytest.raises(ServiceUnavailableError):
                await worker.fetch(UNREAD, timeout=60)
            with pytest.raises(NoStreamResponseError):
                await context.publish(nats.STREAM, b"late")

    asyncio.run(run())
    return {}


def _delete_stream(server: Server, *, make: bool) -> str | None:
    """Delete a stream while a worker waits; return the id that the next entry gets."""
    with (
        ThreadPoolExecutor(1) as thread,
        redis.connected(server) as client,
        redis.connected(server) as blocked,
    ):
        redis.grouped(client)
        waits = thread.submit(
            blocked.xreadgroup, redis.GROUP, "A", {redis.STREAM: ">"}, block=60_000
        )
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1, "a worker that waits")
        client.delete(redis.STREAM)
        with pytest.raises(redis_py.ResponseError):
            waits.result(60)
        entry: str | None = client.xadd(redis.STREAM, {"body": "late"}, nomkstream=not make)
        with pytest.raises(redis_py.ResponseError, match="NOGROUP"):
            redis.read(client)
        return entry


@trial(
    ASKED,
    "redis",
    "`XADD`",
    default=True,
    holds=False,
    short="gone; made again, no group",
    says="The worker that waited got an error. The next `XADD` was answered with an id, and made a stream without a group: nobody reads the entry, and each worker gets `NOGROUP`.",
    documented=Documented(
        agrees=True,
        says="If the key does not exist, `XADD` creates the stream; `NOMKSTREAM` turns that off.",
        source="https://redis.io/docs/latest/commands/xadd/",
    ),
)
def redis_default(server: Server) -> Numbers:
    assert _delete_stream(server, make=True)
    return {}


@trial(
    ASKED,
    "redis",
    "`XADD … NOMKSTREAM`",
    holds=False,
    short="gone; producer is told",
    says="The worker that waited got an error. The next `XADD` made nothing and was answered with nil, which the producer has to look at.",
)
def redis_nomkstream(server: Server) -> Numbers:
    assert _delete_stream(server, make=False) is None
    return {}


@trial(
    ASKED,
    "mqtt",
    "a durable session, QoS 1, taken over with `clean start`",
    default=True,
    holds=False,
    short="gone; new ones dropped",
    says="Another client connected under the session's id with *clean start*, which is how a session is deleted. The consumer was told *Session taken over*, and what waited for it was gone. What was published afterwards was confirmed and dropped, with the reason *No matching subscribers*.",
    documented=Documented(
        agrees=True,
        says="With clean start, the server discards the session under that client id. To the client that is connected under it, it sends a DISCONNECT with 0x8E, session taken over.",
        source="https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901039",
    ),
)
def mqtt_default(server: Server) -> Numbers:
    with (
        mqtt.session(server, "worker", expiry=3600, prefetch=1) as worker,
        mqtt.session(server) as producer,
    ):
        worker.subscribe("videos")
        for number in range(UNREAD):
            assert producer.publish("videos", str(number)) == "Success"
        worker.comes("0")
        with mqtt.session(server, "worker", clean=True):
            wait_until(lambda: worker.ended is not None, "the end of the session")
        assert worker.ended == "Session taken over"
        assert producer.publish("videos", "late") == "No matching subscribers"
    with mqtt.session(server, "worker", expiry=3600) as worker:
        assert not worker.present
        worker.subscribe("videos")
        worker.publish("videos", "next")
        worker.comes("next")
    return {}


@trial(
    ASKED,
    "postgresql",
    "`DROP TABLE`",
    default=True,
    holds=False,
    short="gone; both are told",
    says="The drop waited until the worker's transaction had ended. Then the unread messages were gone, and producer and worker each got the error `UndefinedTable`.",
    documented=Documented(
        agrees=True,
        says="`DROP TABLE` takes an `ACCESS EXCLUSIVE` lock, which conflicts with every other one.",
        source="https://www.postgresql.org/docs/18/explicit-locking.html",
    ),
)
def postgresql_default(server: Server) -> Numbers:
    with (
        postgresql.connect(server) as worker,
        postgresql.connect(server) as operator,
        postgresql.connect(server) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        postgresql.declare(other)
        postgresql.publish(other, "0", "1", "2")
        with worker.transaction():
            taken = postgresql.take(worker)
            assert taken
            drop = thread.submit(operator.execute, "DROP TABLE tasks")

            def waits() -> bool:
                return bool(
                    other.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                        [operator.info.backend_pid],
                    ).fetchone()
                )

            wait_until(waits, "the drop to wait")
            postgresql.acknowledge(worker, taken[0])
        drop.result(60)
        with pytest.raises(psycopg.errors.UndefinedTable):
            postgresql.publish(other, "late")
        with pytest.raises(psycopg.errors.UndefinedTable):
            postgresql.work(worker)
    return {}
