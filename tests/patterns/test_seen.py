"""What the pages on patterns call *seen*, seen again: small facts that are no claims."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import nats
import psycopg
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from nats.errors import TimeoutError as NothingCameError
from nats.js.api import ConsumerConfig, DiscardPolicy, PubAck, RetentionPolicy, StreamConfig
from nats.js.errors import APIError
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pamqp.commands import Basic
from redis import Redis
from redis.exceptions import ResponseError

from tests.brokers import Server
from tests.brokers.clients import SECONDS, comes, jetstream
from tests.brokers.nats import Nats
from tests.patterns.home import load
from tests.patterns.stage import SnippetError, Stage
from tests.snippets.running import SNIPPETS

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@asynccontextmanager
async def rabbitmq(server: Server) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(server.address) as connection:
        yield await connection.channel()


# Dead letter channel


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_counts_a_look_at_a_dead_letter_as_a_delivery(server: Server) -> None:
    async def looks(limit: dict[str, Any]) -> int:
        async with rabbitmq(server) as channel:
            name = f"dead{len(limit)}"
            queue = await channel.declare_queue(name, durable=True, arguments=QUORUM | limit)
            await channel.default_exchange.publish(aio_pika.Message(b"owl.mp4"), name)
            for look in range(30):
                message = await queue.get(fail=False)
                if message is None:
                    return look
                await message.nack(requeue=True)
        return 30

    # From 4.3 on, what is put back by a nack has not failed.
    assert asyncio.run(looks({})) == (30 if server.at_least(4, 3) else 21)
    assert asyncio.run(looks({"x-delivery-limit": -1})) == 30


@pytest.mark.broker("nats")
def test_nats_after_the_last_delivery_a_message_is_stored_and_nobody_gets_it(
    server: Server,
) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            advisories = await stream._nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
            config = ConsumerConfig(max_deliver=2)
            workers = await stream.pull_subscribe("videos", durable="workers", config=config)
            await stream.publish("videos", b"owl.mp4")
            for _ in range(2):
                (message,) = await workers.fetch(1, timeout=SECONDS)
                await message.nak()
            with pytest.raises(NothingCameError):
                await workers.fetch(1, timeout=0.5)
            told = json.loads((await advisories.next_msg(timeout=SECONDS)).data)
            assert told["stream_seq"] == message.metadata.sequence.stream
            info = await stream.consumer_info("videos", "workers")
            assert (info.num_pending, info.num_ack_pending) == (0, 0)
            assert (await stream.stream_info("videos")).state.messages == 1

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_nats_term_deletes_from_a_work_queue(server: Server) -> None:
    async def proof() -> None:
        config = StreamConfig(retention=RetentionPolicy.WORK_QUEUE)
        async with jetstream(server, stream=config) as stream:
            workers = await stream.pull_subscribe("videos", durable="workers")
            await stream.publish("videos", b"owl.mp4")
            (message,) = await workers.fetch(1, timeout=SECONDS)
            await message.term()

            async def is_gone() -> bool:
                return (await stream.stream_info("videos")).state.messages == 0

            await comes(is_gone)

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_nats_headers_can_make_a_dead_letter_too_large(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            body = b"x" * (stream._nc.max_payload - 50)
            await stream.publish("videos", body)
            with pytest.raises(NothingCameError):
                await stream.publish("videos", body, timeout=1, headers={"Reason": "y" * 100})

        async with await nats.connect(server.address) as connection:
            info = await connection.jetstream().stream_info("videos")
        assert info.state.messages == 1

    asyncio.run(proof())


@pytest.mark.broker("redis")
def test_redis_transaction_acknowledges_although_the_dead_letter_was_refused(
    server: Server,
) -> None:
    with Redis.from_url(server.address, decode_responses=True) as redis:
        redis.xgroup_create("videos", "workers", "0", mkstream=True)
        number = redis.xadd("videos", {"video": "owl.mp4"})
        redis.xreadgroup("workers", "A", {"videos": ">"})
        redis.set("dead", "no stream")
        with redis.pipeline(transaction=True) as both:
            both.xadd("dead", {"video": "owl.mp4"})
            both.xack("videos", "workers", number)
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                both.execute()
        assert redis.xpending("videos", "workers")["pending"] == 0


@pytest.mark.broker("kafka")
def test_aiokafka_never_gets_past_a_record_that_it_cannot_deserialize(server: Server) -> None:
    async def proof() -> None:
        async with AIOKafkaProducer(bootstrap_servers=server.address) as producer:
            for body in (b"video=owl.mp4", b'{"video": "cat.mp4"}'):
                await producer.send_and_wait("videos", body)
        consumer = AIOKafkaConsumer(
            "videos",
            bootstrap_servers=server.address,
            auto_offset_reset="earliest",
            value_deserializer=json.loads,
        )
        async with consumer:
            for _ in range(5):
                with pytest.raises(json.JSONDecodeError):
                    await asyncio.wait_for(consumer.getone(), SECONDS)

    asyncio.run(proof())


@pytest.mark.broker("redis")
def test_redis_py_stumbles_over_bytes_that_are_no_text_and_the_entry_is_pending(
    server: Server,
) -> None:
    with Redis.from_url(server.address, decode_responses=True) as redis:
        redis.xgroup_create("videos", "workers", "0", mkstream=True)
        redis.xadd("videos", {"video": b"\xff"})
        with pytest.raises(UnicodeDecodeError):
            redis.xreadgroup("workers", "A", {"videos": ">"})
        assert redis.xpending("videos", "workers")["pending"] == 1
        for _ in range(2):
            with pytest.raises(UnicodeDecodeError):
                redis.xautoclaim("videos", "workers", "B", min_idle_time=0)


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize(
    ("column", "body"), [("text", r"E'\xff'"), ("jsonb", r"E'\xff'"), ("jsonb", "'video=owl.mp4'")]
)
def test_postgresql_refuses_what_the_column_cannot_hold(
    server: Server, column: str, body: str
) -> None:
    with psycopg.connect(server.address) as db:
        assert db.info.parameter_status("server_encoding") == "UTF8"
        db.execute(f"CREATE TEMPORARY TABLE task (body {column})".encode())
        with pytest.raises(psycopg.DataError):
            db.execute(f"INSERT INTO task VALUES ({body})".encode())


@pytest.mark.broker("mqtt")
@pytest.mark.parametrize("qos", [0, 1])
def test_mosquitto_hands_over_all_dead_letters_with_qos_0_and_1000_at_most_with_qos_1(
    qos: int, server: Server, tmp_path: Path
) -> None:
    letters = 1200
    with Stage.of("patterns/dead_letter_channel", "mqtt", server, tmp_path) as stage:
        stage.replace("qos=0)", f"qos={qos})")
        # The message that ends the reading comes, however late, unless it was dropped as well.
        stage.replace("seconds=10", f"seconds={5 if qos else 60}")
        why = Properties(PacketTypes.PUBLISH)
        why.UserProperty = [("reason", "unknown codec"), ("tried", "3")]
        publisher = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        publisher.connect(server.host, server.port_number)
        publisher.loop_start()
        folder = load(stage.snippet).DEAD
        confirms = [
            publisher.publish(f"{folder}/{number}", b"owl.mp4", 1, retain=True, properties=why)
            for number in range(letters)
        ]
        for confirm in confirms:
            confirm.wait_for_publish(SECONDS)
        publisher.disconnect()
        publisher.loop_stop()
        try:
            found = len(stage.call("dead"))
        except SnippetError as error:
            assert "TimeoutError" in str(error)  # noqa: PT017
            found = 0
    assert found == (0 if qos else letters)
    told = "Outgoing messages are being dropped" in server.log.read_text()
    assert told == bool(qos)


# Message expiration


@pytest.mark.broker("mqtt")
def test_mosquitto_leaves_what_is_behind_an_expired_message_to_the_next_one(server: Server) -> None:
    """Until 2.0: from 2.1 on it fills the place that got free."""
    one_at_a_time = Properties(PacketTypes.CONNECT)
    one_at_a_time.ReceiveMaximum = 1
    short_lived = Properties(PacketTypes.PUBLISH)
    short_lived.MessageExpiryInterval = 1
    subscribed = threading.Event()
    came: queue.Queue[MQTTMessage] = queue.Queue()
    worker = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, manual_ack=True)
    worker.on_subscribe = lambda *_: subscribed.set()
    worker.on_message = lambda _client, _userdata, message: came.put(message)
    worker.connect(server.host, server.port_number, properties=one_at_a_time)
    worker.loop_start()

    def publish(video: bytes, properties: Properties | None = None) -> None:
        worker.publish("videos", video, 1, properties=properties).wait_for_publish(SECONDS)

    def take() -> bytes:
        message = came.get(timeout=SECONDS)
        worker.ack(message.mid, message.qos)
        return bytes(message.payload)

    try:
        worker.subscribe("videos", qos=1)
        assert subscribed.wait(SECONDS)
        publish(b"fox.mp4")
        publish(b"dog.mp4", short_lived)
        publish(b"cat.mp4")
        time.sleep(3)  # its time runs out behind fox.mp4
        assert take() == b"fox.mp4"
        publish(b"owl.mp4")  # comes after the acknowledgement: the connection is the same
        overtaken = [b"owl.mp4", b"cat.mp4"]
        assert [take(), take()] == (overtaken[::-1] if server.at_least(2, 1) else overtaken)
    finally:
        worker.disconnect()
        worker.loop_stop()


# Delayed retry


@pytest.mark.broker("redis")
def test_redis_script_that_fails_has_done_what_came_before(server: Server) -> None:
    with Redis.from_url(server.address, decode_responses=True) as redis:
        redis.set("dead", "no stream")
        move = "redis.call('RPUSH', 'wait', ARGV[1]) redis.call('XADD', 'dead', '*', 'v', '1')"
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis.eval(move, 0, "owl.mp4")
        assert redis.lrange("wait", 0, -1) == ["owl.mp4"]


@pytest.mark.broker("nats")
def test_nats_back_off_replaces_ack_wait_and_delays_no_nak(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            await stream.publish("videos", b"cat.mp4")
            # By itself a message comes again after 30 s, and then after 30 s more.
            config = ConsumerConfig(backoff=[0.4, SECONDS * 10], max_deliver=3)
            silent = await stream.pull_subscribe("videos", durable="silent", config=config)
            for _ in range(2):
                await silent.fetch(1, timeout=SECONDS)
            with pytest.raises(NothingCameError):
                await silent.fetch(1, timeout=1)

            config = ConsumerConfig(backoff=[SECONDS * 10], max_deliver=3)
            refusing = await stream.pull_subscribe("videos", durable="refusing", config=config)
            (message,) = await refusing.fetch(1, timeout=SECONDS)
            await message.nak()
            (again,) = await refusing.fetch(1, timeout=SECONDS)
            assert again.metadata.num_delivered == 2

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_nats_nak_without_a_delay_comes_again_without_end(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            workers = await stream.pull_subscribe("videos", durable="workers")
            await stream.publish("videos", b"owl.mp4")
            for number in range(1, 101):
                (message,) = await workers.fetch(1, timeout=SECONDS)
                assert message.metadata.num_delivered == number
                await message.nak()
            assert (await workers.consumer_info()).config.max_deliver == -1

    asyncio.run(proof())


@pytest.mark.broker("nats")
def test_nats_message_that_waits_after_a_nak_counts_as_unacknowledged(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            config = ConsumerConfig(max_ack_pending=2)
            workers = await stream.pull_subscribe("videos", durable="workers", config=config)
            for video in (b"cat.mp4", b"dog.mp4", b"owl.mp4"):
                await stream.publish("videos", video)
            for message in await workers.fetch(2, timeout=SECONDS):
                await message.nak(delay=SECONDS * 10)
            with pytest.raises(NothingCameError):
                await workers.fetch(1, timeout=0.5)
            info = await workers.consumer_info()
            assert (info.num_ack_pending, info.num_pending) == (2, 1)

    asyncio.run(proof())


# Prefetch and backpressure


class SmallNats(Nats):
    """NATS with room for a megabyte."""

    def prepare(self) -> None:
        super().prepare()
        text = self.configuration.read_text()
        self.configuration.write_text(
            text.replace("jetstream {", "jetstream { max_file_store: 1M,")
        )


@pytest.mark.broker("nats")
def test_nats_without_room_refuses_and_drops_nothing(server: Server) -> None:
    async def proof(own: Server) -> None:
        async with jetstream(own) as stream:

            async def fill() -> None:
                while True:
                    stored.append(await stream.publish("videos", b"x" * 10_000))

            stored: list[PubAck] = []
            with pytest.raises(APIError, match="insufficient resources"):
                await asyncio.wait_for(fill(), SECONDS)
            state = (await stream.stream_info("videos")).state
            assert state.first_seq == 1
            assert state.messages == len(stored) > 0

    with server.another(SmallNats) as own:
        asyncio.run(proof(own))


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_rabbitmq_limit_is_exact_for_a_classic_queue_only(kind: str, server: Server) -> None:
    async def confirmed() -> int:
        async with rabbitmq(server) as channel:
            limit: dict[str, Any] = {"x-max-length": 5, "x-overflow": "reject-publish"}
            await channel.declare_queue(
                "transcode", durable=True, arguments={"x-queue-type": kind, **limit}
            )
            publish = partial(channel.default_exchange.publish, aio_pika.Message(b"cat.mp4"))
            answers = await asyncio.gather(
                *(publish("transcode") for _ in range(1000)), return_exceptions=True
            )
        assert all(isinstance(one, DeliveryError | Basic.Ack) for one in answers)
        return sum(isinstance(one, Basic.Ack) for one in answers)

    taken = asyncio.run(confirmed())
    assert taken == 5 if kind == "classic" else 5 < taken < 1000


@pytest.mark.broker("nats")
def test_nats_limit_is_exact_with_many_publishes_in_flight(server: Server) -> None:
    async def confirmed() -> int:
        config = StreamConfig(max_msgs=5, discard=DiscardPolicy.NEW)
        async with jetstream(server, stream=config) as stream:
            answers = await asyncio.gather(
                *(stream.publish("videos", b"cat.mp4", timeout=SECONDS) for _ in range(1000)),
                return_exceptions=True,
            )
        assert all(isinstance(one, APIError | PubAck) for one in answers)
        return sum(isinstance(one, PubAck) for one in answers)

    assert asyncio.run(confirmed()) == 5


# Publish-subscribe and topic router


@pytest.mark.broker("nats")
@pytest.mark.parametrize("in_flight", [1, 10])
def test_nats_failed_event_is_overtaken_unless_one_is_in_flight(
    server: Server, in_flight: int
) -> None:
    async def handled() -> list[bytes]:
        async with jetstream(server) as stream:
            # Where another can overtake, it must not come again before that one is asked for.
            ack_wait = 1 if in_flight == 1 else 5
            config = ConsumerConfig(max_ack_pending=in_flight, ack_wait=ack_wait)
            events = await stream.pull_subscribe("videos", durable="mailer", config=config)
            for event in (b"cat.mp4", b"dog.mp4"):
                await stream.publish("videos", event)
            await events.fetch(1, timeout=SECONDS)  # fails, and acknowledges nothing
            done: list[bytes] = []
            while len(done) < 2:
                (message,) = await events.fetch(1, timeout=SECONDS)
                done.append(message.data)
                await message.ack_sync()
            return done

    overtaken = asyncio.run(handled()) == [b"dog.mp4", b"cat.mp4"]
    assert overtaken == (in_flight > 1)


@pytest.mark.broker("nats")
def test_nats_takes_a_consumer_of_subjects_that_its_stream_does_not_have(server: Server) -> None:
    async def proof() -> None:
        async with jetstream(server) as stream:
            info = await stream.add_consumer("videos", durable_name="a", filter_subject="audio.>")
            assert info.config.filter_subject == "audio.>"

    asyncio.run(proof())


# Partitioned consumers


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize("locked", [True, False])
def test_postgresql_walks_over_all_the_tasks_of_a_key_that_is_locked(
    server: Server, *, locked: bool
) -> None:
    tasks = 10_000
    snippet = load(SNIPPETS / "patterns" / "partitioned_consumers" / "on_postgresql.py")
    with psycopg.connect(server.address) as db, psycopg.connect(server.address) as other:
        db.execute(snippet.TABLE)
        db.execute(
            "INSERT INTO task (key, body) SELECT 'hot', 'upload' FROM generate_series(1, %s)",
            [tasks],
        )
        db.execute("INSERT INTO task (key, body) VALUES ('owl', 'upload')")
        db.execute("ANALYZE task")
        db.commit()
        if locked:
            other.execute(snippet.LOCK_NEXT)
        row = db.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {snippet.LOCK_NEXT}").fetchone()
    assert row
    scan = row[0][0]["Plan"]
    while "Rows Removed by Filter" not in scan and "Relation Name" not in scan:
        scan = scan["Plans"][0]
    walked = scan.get("Rows Removed by Filter", 0)
    assert walked == (tasks - 1 if locked else 0)
