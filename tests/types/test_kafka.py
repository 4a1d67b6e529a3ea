"""Kafka: what its clients have in common, each at the fault that it is there for."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from random import Random
from string import ascii_letters
from types import ModuleType
from typing import Any

import kafka_client
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from tests.brokers import Server
from tests.brokers.kafka import Kafka
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

pytestmark = pytest.mark.broker(Kafka.key)

BINARY = b"\xff\x00"


@pytest.fixture(autouse=True)
def _address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kafka_client.SERVERS, "bootstrap_servers", server.address)


def snippet(path: str) -> Any:
    module: ModuleType = load(SNIPPETS / path / "on_kafka.py")
    return module


class NoText(str):
    """A header's name that another client has written, and that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Headers that aiokafka writes, with its encoder in Python, and can't read."""
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    return [(NoText("x"), b"")]


async def take(consumer: kafka_client.Consumer, number: int) -> list[bytes]:
    taken: list[bytes] = []
    async with asyncio.timeout(90):
        while len(taken) < number:
            async with consumer.next() as record:
                taken.append(record.value)
                await consumer.commit(record)
    return taken


def test_a_header_name_that_is_no_utf8_stops_no_consumer(
    unreadable: list[tuple[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    async def proof() -> None:
        await kafka_client.create_topics("videos", partitions=2)
        async with kafka_client.connect() as sender:
            for number in range(2):
                await sender.send_and_wait("videos", b"cat", partition=number)
                await sender.send_and_wait("videos", b"bad", partition=number, headers=unreadable)
                await sender.send_and_wait("videos", b"dog", partition=number)
        place = TopicPartition("videos", 1)
        client = AIOKafkaConsumer(bootstrap_servers=kafka_client.SERVERS["bootstrap_servers"])
        client.assign([place])
        async with client:
            client.seek(place, 1)
            for _ in "ab":  # so it would go on for ever
                with pytest.raises(UnicodeDecodeError):
                    await client.getone()
        async with kafka_client.consume("group", "worker", "videos") as consumer:
            assert sorted(await take(consumer, 4)) == [b"cat", b"cat", b"dog", b"dog"]
        async with kafka_client.consume(None, "reader", place) as consumer:
            rest = [record.value async for record in consumer.rest(place)]
            assert rest == [b"cat", b"dog"]
        await kafka_client.create_topics("many", partitions=20)
        async with kafka_client.connect() as sender:
            await sender.send_and_wait("many", b"bad", partition=7, headers=unreadable)
            await sender.send_and_wait("many", b"dog", partition=7)
        async with kafka_client.consume("group", "worker", "many") as consumer:
            assert await take(consumer, 1) == [b"dog"]  # it looks at all at the same time

    with caplog.at_level(logging.WARNING):
        asyncio.run(proof())
    assert "partition=1), offset 1: a header's name is not UTF-8" in caplog.text


def test_a_copy_keeps_key_and_headers_and_says_where_it_was() -> None:
    async def proof() -> None:
        places = [TopicPartition(name, 0) for name in ("first", "second", "third")]
        await kafka_client.create_topics(*(place.topic for place in places))
        headers = [("traceparent", b"00-1-2-01"), ("image", BINARY), ("image", b"2")]
        async with kafka_client.connect() as sender:
            await kafka_client.send(sender, "first", BINARY, key=b"cat", headers=headers)
            for source, to in pairwise(places):
                async with kafka_client.consume(None, "copier", source) as consumer:
                    async for record in consumer.rest(source):
                        notes = {"attempt": to.topic}
                        await kafka_client.copy(sender, to.topic, record, notes)
        async with kafka_client.consume(None, "reader", places[2]) as consumer:
            [record] = [record async for record in consumer.rest(places[2])]
        assert (record.key, record.value) == (b"cat", BINARY)
        origin, attempt = ("x-origin", b"first/0/0"), ("attempt", b"third")
        assert list(record.headers) == [*headers, origin, attempt]

    asyncio.run(proof())


def test_a_copy_takes_headers_without_a_value_names_twice_and_any_reason() -> None:
    """A reason often cites the body, and that may be no text."""
    headers = [("none", None), ("twice", b"1"), ("twice", b"2"), ("x-reason", b"old")]
    videos, dead = TopicPartition("videos", 0), TopicPartition("dead", 0)

    async def proof() -> None:
        await kafka_client.create_topics("videos", "dead")
        async with (
            kafka_client.connect() as sender,
            kafka_client.consume(None, "worker", videos) as worker,
            kafka_client.consume(None, "operator", dead) as operator,
        ):
            await kafka_client.send(sender, "videos", BINARY, headers=headers)
            async with worker.next() as record:
                why = {"x-reason": f"not a video: {kafka_client.text(record)}"}
                await kafka_client.copy(sender, "dead", record, why)
            async with operator.next() as letter:
                origin, reason = ("x-origin", b"videos/0/0"), b"not a video: \xff\x00"
                assert [*letter.headers] == [*headers[:3], origin, ("x-reason", reason)]

    asyncio.run(proof())


def test_another_connect_ends_out_of_order_sequence_numbers() -> None:
    async def proof() -> None:
        await kafka_client.create_topics("small", configs={"max.message.bytes": "1000"})
        async with kafka_client.connect() as sender:
            await kafka_client.send(sender, "small", b"cat")
            with pytest.raises(MessageSizeTooLargeError):
                await kafka_client.send(sender, "small", b"x" * 5000)
            for _ in "ab":
                with pytest.raises(OutOfOrderSequenceNumber):
                    await kafka_client.send(sender, "small", b"dog")
        async with kafka_client.connect() as sender:
            await kafka_client.send(sender, "small", b"dog")

    asyncio.run(proof())


def test_a_hung_server_ends_each_call_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_client, "QUIET", 1)

    async def ends(call: Any) -> None:
        with pytest.raises(KafkaTimeoutError, match="Kafka does not answer: "):
            async with asyncio.timeout(60):
                await call

    async def proof() -> None:
        await kafka_client.create_topics("videos")
        async with (
            kafka_client.connect() as sender,
            kafka_client.consume("group", "worker", "videos") as consumer,
        ):
            await kafka_client.send(sender, "videos", b"cat")
            assert await take(consumer, 1) == [b"cat"]
            monkeypatch.setattr(kafka_client, "SECONDS", 2)
            server.freeze()
            try:
                await ends(take(consumer, 1))
                await ends(kafka_client.send(sender, "videos", b"dog"))
                await ends(kafka_client.create_topics("others"))
                async with asyncio.timeout(60):
                    await kafka_client.close(consumer.client.stop)
            finally:
                server.thaw()

    asyncio.run(proof())


def test_a_worker_that_the_group_took_for_dead_joins_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def proof() -> list[str]:
        tasks = snippet("patterns/work_queue")
        await kafka_client.create_topics(tasks.TOPIC)
        clients: list[AIOKafkaConsumer] = []
        begun: list[str] = []

        @asynccontextmanager
        async def consume(*arguments: Any) -> AsyncIterator[kafka_client.Consumer]:
            async with kafka_client.consume(*arguments) as consumer:
                clients.append(consumer.client)
                yield consumer

        async def handle(task: str, _: int | None) -> None:
            begun.append(task)
            if len(begun) == 1:  # as after a pause that was longer than its session
                clients[0]._coordinator.generation = 99

        tasks.consume = consume
        async with kafka_client.connect() as sender:
            for task in ("cat", "dog"):
                await kafka_client.send(sender, tasks.TOPIC, task)
        async with asyncio.timeout(90):
            await tasks.work("A", handle, limit=3)
        return begun

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(proof()) == ["cat", "cat", "dog"]  # and not dog while it held nothing
    assert "not committed, so it comes again" in caplog.text


def test_a_topic_and_a_commit_beside_a_group_are_refused_aloud() -> None:
    with pytest.raises(InvalidTopicError, match="'all videos' contains"):
        asyncio.run(kafka_client.create_topics("all videos"))

    async def proof() -> None:
        place = TopicPartition("videos", 0)
        await kafka_client.create_topics("videos")
        async with kafka_client.connect() as sender:
            await kafka_client.send(sender, "videos", b"cat")
        async with (
            kafka_client.consume("group", "member", "videos") as member,
            kafka_client.consume("group", "beside", place) as beside,
            member.next(),
            beside.next() as record,
        ):
            with pytest.raises(CommitFailedError, match="rebalanced"):
                await beside.commit(record)

    asyncio.run(proof())


def test_a_consumer_waits_for_a_server_that_starts_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_client, "QUIET", 1)

    async def proof() -> None:
        await kafka_client.create_topics("videos")
        async with kafka_client.consume("group", "worker", "videos") as consumer:
            async with kafka_client.connect() as sender:
                await kafka_client.send(sender, "videos", b"cat")
            assert await take(consumer, 1) == [b"cat"]
            await asyncio.to_thread(server.kill)
            waiting = asyncio.ensure_future(take(consumer, 1))
            assert not (await asyncio.wait([waiting], timeout=4))[0]
            await asyncio.to_thread(server.start)
            async with kafka_client.connect() as sender:
                await kafka_client.send(sender, "videos", b"dog")
            assert await waiting == [b"dog"]

    asyncio.run(proof())


def test_a_subscription_and_its_receiver_commit_each_partition() -> None:
    async def proof() -> None:
        events = snippet("patterns/publish_subscribe")
        await kafka_client.create_topics("videos", partitions=2)
        places = [TopicPartition("videos", number) for number in range(2)]
        got: list[str] = []

        async def handle(event: str) -> None:
            got.append(event)

        async with events.connect() as sender:
            for one in places:
                await sender.send_and_wait("videos", b"old", partition=one.partition)
            await events.subscribe(sender, "notifier")
            for one in places:
                await sender.send_and_wait("videos", b"new", partition=one.partition)
            await events.receive("notifier", handle, limit=2)
        assert got == ["new", "new"]
        async with kafka_client.consume("notifier", "reader", *places) as consumer:
            assert [await consumer.client.committed(one) for one in places] == [2, 2]

    asyncio.run(proof())


def test_who_subscribes_beside_its_receiver_gets_everything() -> None:
    """As a second instance does after the topic was made again: its offsets went with it."""

    async def proof() -> None:
        events = snippet("patterns/publish_subscribe")
        async with (
            events.connect() as sender,
            kafka_client.consume("notifier", "notifier", events.VIDEOS) as receiver,
        ):
            await kafka_client.send(sender, events.VIDEOS, b"cat")
            async with receiver.next() as record:  # it is a member, and has committed nothing
                await events.subscribe(sender, "notifier")
                await receiver.commit(record)
            await kafka_client.send(sender, events.VIDEOS, b"dog")
            assert await take(receiver, 1) == [b"dog"]

    asyncio.run(proof())


def test_a_worker_commits_each_partition_of_what_expires() -> None:
    async def proof() -> None:
        tasks = snippet("patterns/message_expiration")
        await kafka_client.create_topics(tasks.QUEUE, partitions=2)
        places = [TopicPartition(tasks.QUEUE, number) for number in range(2)]

        async def handle(_: str) -> None: ...

        async with kafka_client.connect() as sender:
            for one in places:
                await sender.send_and_wait(tasks.QUEUE, b"cat", partition=one.partition)
        await tasks.work("A", handle, limit=2)
        async with kafka_client.consume(tasks.GROUP, "reader", *places) as consumer:
            assert [await consumer.client.committed(one) for one in places] == [1, 1]

    asyncio.run(proof())


def test_a_requestor_gets_past_a_record_that_it_cant_decode(
    unreadable: list[tuple[str, bytes]],
) -> None:
    async def proof() -> None:
        lengths = snippet("patterns/request_reply")

        async def handle(body: str) -> str:
            return f"{body}: done"

        await lengths.declare()
        async with kafka_client.connect() as sender, lengths.requestor() as request:
            replier = asyncio.create_task(lengths.serve("A", handle))
            for number in range(lengths.PARTITIONS):
                for topic in (lengths.REPLIES, lengths.REQUESTS):
                    await sender.send_and_wait(topic, b"", partition=number, headers=unreadable)
            assert await request("cat.mp4", 30) == "cat.mp4: done"
            replier.cancel()
            await asyncio.wait([replier])

    asyncio.run(proof())


def test_a_requestor_says_why_no_reply_came(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def ended(*_: object) -> AsyncIterator[asyncio.Future[None]]:
        listener: asyncio.Future[None] = asyncio.Future()
        listener.set_exception(KafkaError("Kafka is silent"))
        yield listener

    async def proof() -> None:
        lengths = snippet("patterns/request_reply")
        await lengths.declare()
        async with lengths.requestor() as request:
            with pytest.raises(TimeoutError, match=r"^no reply in time$"):
                await request("cat.mp4", 0.5)
        monkeypatch.setattr(lengths, "listen", ended)
        async with lengths.requestor() as request:
            with pytest.raises(KafkaError, match="Kafka is silent"):
                await request("cat.mp4", 20)

    asyncio.run(proof())


@pytest.mark.parametrize("topic", ["service_batch", "service_handlers"])
def test_a_service_gets_past_a_record_that_it_cant_decode(
    topic: str, unreadable: list[tuple[str, bytes]]
) -> None:
    async def proof() -> None:
        service = snippet(f"best_practices/{topic}")
        done: asyncio.Queue[str] = asyncio.Queue()

        async def handle(what: str | list[str]) -> None:
            for one in [what] if isinstance(what, str) else what:
                done.put_nowait(one)

        async with kafka_client.connect() as sender:
            await service.declare(sender)
            for body, headers in ((b"cat", []), (b"bad", unreadable), (b"dog", [])):
                await sender.send_and_wait(service.TOPIC, body, headers=headers)
            working = asyncio.create_task(service.work(handle))
            async with asyncio.timeout(90):
                assert [await done.get(), await done.get()] == ["cat", "dog"]
            working.cancel()
            await asyncio.wait([working])

    asyncio.run(proof())


def test_what_failed_together_comes_back_in_ten_groups() -> None:
    tasks, random = snippet("patterns/delayed_retry"), Random(1)
    for attempt in (1, 2):
        groups = Counter(tasks.delay(attempt, random) for _ in range(1000))
        assert len(groups) == 10
        assert max(groups.values()) < 150


def test_a_reader_of_what_is_committed_stops_at_an_open_transaction() -> None:
    """And nothing that waits behind it is in the lag to the end that this reader sees."""

    async def proof() -> None:
        await kafka_client.create_topics("videos")
        place = TopicPartition("videos", 0)
        hidden = {"isolation_level": "read_committed"}
        async with (
            kafka_client.connect(transactional_id="uploads") as crashed,
            kafka_client.connect() as sender,
            kafka_client.consume("all", "all", place) as of_all,
            kafka_client.consume("committed", "committed", place, **hidden) as of_committed,
        ):
            await crashed.begin_transaction()
            await crashed.send_and_wait("videos", b"half")
            await kafka_client.send(sender, "videos", b"whole")
            assert await take(of_all, 2) == [b"half", b"whole"]
            assert await of_committed.poll(3, place) is None
            # What this reader may see ends where the transaction began.
            assert await of_committed.client.end_offsets([place]) == {place: 0}
            assert await of_all.client.end_offsets([place]) == {place: 2}
            async with kafka_client.connect(transactional_id="uploads"):  # its next start
                assert await take(of_committed, 1) == [b"whole"]
            assert await of_committed.client.end_offsets([place]) == {place: 3}

    asyncio.run(proof())


@pytest.mark.parametrize("pattern", ["delayed_retry", "dead_letter_channel"])
def test_a_dead_letter_keeps_its_identity(pattern: str) -> None:
    headers = [("id", b"5"), ("image", BINARY)]

    async def proof() -> None:
        tasks = snippet(f"patterns/{pattern}")

        async def handle(_: str) -> None:
            raise RuntimeError("unknown codec")

        await tasks.declare()
        async with kafka_client.connect() as sender:
            body = b'{"video": "cat.mp4"}'
            await sender.send_and_wait(tasks.TOPIC, body, b"cat", headers=headers)
            opened = [sender] if pattern == "dead_letter_channel" else []
            await tasks.work(*opened, "A", handle, limit=1)
            await is_whole(tasks.DEAD)
            if pattern == "dead_letter_channel":
                await tasks.dead(sender, redrive=True)
                await is_whole(TopicPartition(tasks.TOPIC, 0))

    async def is_whole(place: TopicPartition) -> None:
        async with kafka_client.consume(None, "reader", place) as consumer:
            *_, letter = [record async for record in consumer.rest(place)]
        assert (letter.key, letter.value) == (b"cat", b'{"video": "cat.mp4"}')
        assert set(headers) < set(letter.headers)
        assert dict(letter.headers)["x-origin"] == b"transcode/0/0"

    asyncio.run(proof())


def test_a_redrive_deletes_what_it_sent_back_and_no_letter_that_it_cant_read(
    unreadable: list[tuple[str, bytes]],
) -> None:
    async def proof() -> None:
        tasks = snippet("patterns/dead_letter_channel")
        await tasks.declare()
        async with kafka_client.connect() as sender:
            for body, headers in ((b"cat", []), (b"bad", unreadable), (b"dog", [])):
                await sender.send_and_wait(tasks.DEAD.topic, body, partition=0, headers=headers)
            assert [letter[0] for letter in await tasks.dead(sender)] == ["cat", "dog"]
            for _ in ("at first", "and again"):
                with pytest.raises(KafkaError, match="offset 1: a header's name is not UTF-8"):
                    await tasks.dead(sender, redrive=True)
            assert [letter[0] for letter in await tasks.dead(sender)] == ["dog"]
        work = TopicPartition(tasks.TOPIC, 0)
        async with kafka_client.consume(None, "reader", tasks.DEAD, work) as consumer:
            assert await consumer.client.beginning_offsets([tasks.DEAD]) == {tasks.DEAD: 1}
            assert await consumer.client.end_offsets([work]) == {work: 1}

    asyncio.run(proof())


def test_a_trace_is_linked_beside_a_header_that_is_no_text() -> None:
    tracing = snippet("best_practices/tracing")
    headers = (("image", BINARY), ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"))

    class Record:
        def __init__(self) -> None:
            self.headers = headers

    assert tracing.link(Record()).context.span_id == int("2" * 16, 16)


async def emptied(buffer: Any) -> None:
    await asyncio.to_thread(wait_until, lambda: not buffer.lines, "an empty buffer", 60)


def test_a_long_line_stops_no_shipper() -> None:
    async def proof() -> None:
        logs = snippet("use_cases/log_pipelines")
        await logs.declare()
        buffer = logs.Buffer("web")
        for text in ("before", "x" * 2_000_000, "after"):
            buffer.log("ERROR", text)
        assert buffer.bytes < 2 * logs.LONGEST
        shipper = asyncio.create_task(logs.keep_shipping(buffer))
        await emptied(buffer)
        shipper.cancel()
        await asyncio.wait([shipper])
        assert await logs.collect() == ({"web ERROR": (3, 0)}, [])

    asyncio.run(proof())


def test_a_shipper_goes_on_after_a_refused_batch(capsys: pytest.CaptureFixture[str]) -> None:
    async def proof() -> None:
        logs = snippet("use_cases/log_pipelines")
        await kafka_client.create_topics("logs", configs={"max.message.bytes": "1000"})
        buffer = logs.Buffer("web")
        buffer.log("ERROR", "before")
        shipper = asyncio.create_task(logs.keep_shipping(buffer))
        await emptied(buffer)
        buffer.log("ERROR", "".join(Random(1).choices(ascii_letters, k=9000)))
        wait = partial(wait_until, lambda: "not shipped" in capsys.readouterr().err)
        await asyncio.to_thread(wait, "the server to refuse a batch")
        buffer.forget(1)
        buffer.log("ERROR", "after")
        await emptied(buffer)
        shipper.cancel()
        await asyncio.wait([shipper])
        counts, _ = await logs.collect()
        assert counts["web ERROR"] == (2, 1)

    asyncio.run(proof())
