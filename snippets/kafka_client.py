"""Kafka in asyncio: aiokafka, with a clock on every wait for the server.

aiokafka connects again by itself, and tries most calls again for ever. Here
each ends in time, with an error that says why; then begin anew.
"""

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaTimeoutError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import ConsumerRecord

ANSWER = 15_000  # ms for one answer: longer than a server may stand still
SECONDS = 25  # for a call with all its retries
QUIET = 10  # seconds without a record; then we ask whether Kafka is there
SESSION = 6_000  # ms until a silent consumer is dead; usual: 45_000
LONGEST_TASK = 300_000  # ms; a slower worker is thought stuck and replaced
SERVERS: Any = {
    "bootstrap_servers": os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092"),
    "request_timeout_ms": ANSWER,
    "metadata_max_age_ms": 10_000,  # a topic made again is seen by then
}
closing: set[asyncio.Future[None]] = set()


@asynccontextmanager
async def in_time(what: str) -> AsyncIterator[None]:
    """Raise when Kafka has not done it in time."""
    try:
        async with asyncio.timeout(SECONDS):
            yield
    except TimeoutError:
        raise KafkaTimeoutError(f"Kafka does not answer: {what}") from None


async def close(stop: Callable[[], Awaitable[None]]) -> None:
    """Wait a moment only: a client flushes first, and that may last."""
    stopped = asyncio.ensure_future(stop())
    closing.add(stopped)  # or it might be collected before it has ended
    stopped.add_done_callback(closing.discard)
    await asyncio.wait([stopped], timeout=5)


@asynccontextmanager
async def connect(
    *topics: str, configs: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """Open the producer that a service keeps, and make topics it needs.

    After an error, open another. A record that the server refused leaves a
    gap in the numbers of an idempotent producer: all that follow get
    OutOfOrderSequenceNumber.
    """
    if topics:
        await create_topics(*topics, configs=configs)
    producer = AIOKafkaProducer(
        **SERVERS, acks="all", enable_idempotence=True, **options
    )
    try:
        async with in_time("start of a producer"):
            await producer.start()
        yield producer
    finally:
        await close(producer.stop)


async def send(
    producer: AIOKafkaProducer,
    topic: str,
    body: str | bytes | None,
    **more: Any,
) -> None:
    """Send a record, and wait for its confirm."""
    value = raw(body) if isinstance(body, str) else body
    async with in_time(f"confirm of a record for {topic}"):
        await producer.send_and_wait(topic, value, **more)


async def copy(
    producer: AIOKafkaProducer,
    topic: str,
    record: ConsumerRecord,
    notes: Mapping[str, str],
) -> None:
    """Send on a record as it is, with our notes, and where it was first."""
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    if "x-origin" not in dict(record.headers):
        notes = {"x-origin": origin, **notes}
    kept = [(name, old) for name, old in record.headers if name not in notes]
    ours = [(name, new.encode()) for name, new in notes.items()]
    await send(
        producer, topic, record.value, key=record.key, headers=kept + ours
    )


@asynccontextmanager
async def administer() -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**SERVERS)
    try:
        async with in_time("administration"):
            await admin.start()
            yield admin
    finally:
        await close(admin.close)


async def create_topics(
    *names: str, partitions: int = 1, configs: dict[str, str] | None = None
) -> None:
    """Make the topics that are missing."""
    # One replica suits one server; on a cluster take 3, and set
    # min.insync.replicas=2, or acks="all" may mean the leader alone.
    new = [NewTopic(n, partitions, 1, topic_configs=configs) for n in {*names}]
    async with administer() as admin:
        answer = await admin.create_topics(new)
    for _, code, reason in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(reason)


@ConsumerRebalanceListener.register
class Consumer:
    """A consumer that hands out one record at a time."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self.client = client
        self.busy = defaultdict[TopicPartition, asyncio.Lock](asyncio.Lock)
        self.heard = time.monotonic()
        self.moved = asyncio.Event()

    @asynccontextmanager
    async def next(
        self, *places: TopicPartition
    ) -> AsyncIterator[ConsumerRecord]:
        """Wait for the next record, of these partitions or of any."""
        while not (record := await self.poll(QUIET, *places)):
            pass
        async with self.busy[place(record)]:
            yield record

    async def rest(self, one: TopicPartition) -> AsyncIterator[ConsumerRecord]:
        """Hand out what the partition has now, and end."""
        async with in_time(f"the end of {one}"):
            end = (await self.client.end_offsets([one]))[one]
        while await self.client.position(one) < end:
            if record := await self.poll(1, one):
                yield record

    async def poll(
        self, seconds: float, *places: TopicPartition
    ) -> ConsumerRecord | None:
        """Return a record if one comes in time; raise if Kafka is silent."""
        try:
            async with asyncio.timeout(seconds):
                record = await self.client.getone(*places)
        except TimeoutError:
            await self._ask()
            return None
        except UnicodeDecodeError:
            await self._skip(places or self.client.assignment())
            return None
        self.heard = time.monotonic()
        return record

    async def _ask(self) -> None:
        """Ask whether Kafka is there, if nothing has come for long."""
        if time.monotonic() - self.heard > QUIET - 1:
            async with in_time("a consumer hears nothing"):
                await self.client.topics()
            self.heard = time.monotonic()

    async def _skip(self, places: Iterable[TopicPartition]) -> None:
        """Pass over a record that aiokafka can't decode, wherever it is."""
        for one in places:
            at = await self.client.position(one)
            try:
                async with asyncio.timeout(5):
                    await self.client.getone(one)
            except TimeoutError:
                continue
            except UnicodeDecodeError:
                why = "skipped %s, offset %d: a header's name is not UTF-8"
                logging.warning(why, one, at)
                at += 1
            self.client.seek(one, at)

    async def commit(self, record: ConsumerRecord, note: str = "") -> None:
        """Say that the group is done with all up to this record."""
        async with in_time("commit"):
            await self.client.commit(
                {place(record): (record.offset + 1, note)}
            )

    def postpone(self, record: ConsumerRecord, seconds: float) -> None:
        """Hand the record and what follows it in its partition out later."""
        self.client.pause(place(record))
        self.client.seek(place(record), record.offset)
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._resume, place(record))

    def _resume(self, one: TopicPartition) -> None:
        if one in self.client.assignment():
            self.client.resume(one)

    async def each_partition(
        self, serve: Callable[[TopicPartition], Awaitable[None]]
    ) -> None:
        """Serve all partitions that are ours side by side, until one ends."""
        tasks: dict[TopicPartition, asyncio.Future[None]] = {}
        try:
            while not any(task.done() for task in tasks.values()):
                self.moved.clear()
                ours = self.client.assignment()
                for gone in tasks.keys() - ours:
                    tasks.pop(gone).cancel()
                for new in ours - tasks.keys():
                    tasks[new] = asyncio.ensure_future(serve(new))
                move: asyncio.Future[Any]
                move = asyncio.ensure_future(self.moved.wait())
                await asyncio.wait(
                    {move, *tasks.values()},
                    timeout=QUIET,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                move.cancel()
                if not tasks:
                    await self._ask()
            for task in tasks.values():
                if task.done():
                    task.result()
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def on_partitions_revoked(self, _: object) -> None:
        """Let a rebalance wait for the task: nobody else is to begin it."""
        for lock in self.busy.values():
            async with lock:
                pass

    def on_partitions_assigned(self, _: object) -> None:
        self.moved.set()


def place(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def text(record: ConsumerRecord) -> str:
    """Return the body, of any bytes or none; `raw()` makes it bytes again."""
    return (record.value or b"").decode(errors="surrogateescape")


@asynccontextmanager
async def consume(
    group: str | None, name: str, *source: str | TopicPartition, **options: Any
) -> AsyncIterator[Consumer]:
    """Share topics with a group, or read partitions without others."""
    client = AIOKafkaConsumer(
        **SERVERS,
        group_id=group,
        client_id=name,
        **{
            "enable_auto_commit": False,  # it commits what is not done yet
            "auto_offset_reset": "earliest",  # for the first one ever
            "session_timeout_ms": SESSION,
            "heartbeat_interval_ms": SESSION // 6,  # tells of rebalances, too
            "max_poll_interval_ms": LONGEST_TASK,
            "rebalance_timeout_ms": LONGEST_TASK,
            **options,
        },
    )
    consumer = Consumer(client)
    try:
        async with in_time("start of a consumer"):
            await client.start()
        if isinstance(source[0], TopicPartition):
            client.assign(source)
        else:
            client.subscribe(source, listener=consumer)
        yield consumer
    finally:
        await close(client.stop)  # leaves the group, or others wait
