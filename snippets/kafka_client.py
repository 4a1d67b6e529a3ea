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
    Coroutine,
    Mapping,
)
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import (
    CommitFailedError,
    KafkaError,
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
BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
SERVERS: Any = {
    "bootstrap_servers": BOOTSTRAP,
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
    closing.add(stopped)  # Else it might be collected before it has ended.
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
    to: str | TopicPartition,
    record: ConsumerRecord,
    notes: Mapping[str, str],
) -> None:
    """Send on a record as it is, with our notes, and where it was first."""
    topic, partition = to if isinstance(to, TopicPartition) else (to, None)
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    if "x-origin" not in dict(record.headers):
        notes = {"x-origin": origin, **notes}
    kept = [(name, old) for name, old in record.headers if name not in notes]
    ours = [(name, raw(new)) for name, new in notes.items()]
    its = {"key": record.key, "headers": kept + ours}
    await send(producer, topic, record.value, partition=partition, **its)


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


async def answers(client: AIOKafkaConsumer) -> None:
    """Wait until Kafka answers: a server that is starting does not yet."""
    async with in_time("a consumer hears nothing"):
        while True:
            with suppress(KafkaError):
                await client.topics()
                return
            await asyncio.sleep(1)


@ConsumerRebalanceListener.register
class Consumer:
    """A consumer that hands out one record at a time."""

    def __init__(self, client: AIOKafkaConsumer, shares: bool) -> None:
        self.client, self.shares = client, shares
        self.busy = defaultdict[TopicPartition, asyncio.Lock](asyncio.Lock)
        self.batch = asyncio.Lock()
        self.settle = self._settle  # It runs before we lose partitions.
        self.heard = time.monotonic()
        self.moved = asyncio.Event()
        self.skips = True  # It skips what aiokafka can't decode.

    @asynccontextmanager
    async def next(
        self, *places: TopicPartition
    ) -> AsyncIterator[ConsumerRecord]:
        """Wait for the next record, of these partitions or of any."""
        while not (record := await self.poll(QUIET, *places)):
            pass
        async with self.busy[place(record)]:
            yield record

    @asynccontextmanager
    async def many(
        self, most: int
    ) -> AsyncIterator[dict[TopicPartition, list[ConsumerRecord]]]:
        """Hand out what comes within a second, at most so many."""
        taken = defaultdict[TopicPartition, list[ConsumerRecord]](list)
        async with self.batch:
            for number in range(most):
                # getmany() never gets past a name that it can't decode.
                record = await self.poll(0.05 if number else 1)
                if record is None:
                    break
                taken[place(record)].append(record)
            yield taken

    async def rest(
        self, one: TopicPartition, skips: bool = True
    ) -> AsyncIterator[ConsumerRecord]:
        """Hand out what the partition has now, and end."""
        self.skips = skips
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
            if time.monotonic() - self.heard > QUIET - 1:
                await answers(self.client)
                self.heard = time.monotonic()
            return None
        except UnicodeDecodeError:
            its = places or self.client.assignment()
            await asyncio.gather(*(self._skip(one) for one in its))
            return None
        self.heard = time.monotonic()
        return record

    async def _skip(self, one: TopicPartition) -> None:
        """Pass over a record that aiokafka can't decode, if it is here."""
        at = await self.client.position(one)
        try:
            async with asyncio.timeout(5):
                await self.client.getone(one)
        except TimeoutError:
            return
        except UnicodeDecodeError:
            why = f"{one}, offset {at}: a header's name is not UTF-8"
            if not self.skips:
                raise KafkaError(f"{why}: read it with another tool") from None
            logging.warning("skipped %s", why)
            at += 1
        self.client.seek(one, at)

    async def commit(self, record: ConsumerRecord, note: str = "") -> None:
        """Say that the group is done with all up to this record."""
        await self.commit_up_to({place(record): (record.offset + 1, note)})

    async def commit_up_to(
        self, offsets: Mapping[TopicPartition, object]
    ) -> None:
        """Say that the group is done with all before these offsets."""
        try:
            async with in_time("commit"):
                await self.client.commit(offsets)
        except CommitFailedError:
            if not self.shares:
                raise
            # The group took us for dead, and somebody begins there again. To
            # end would move all partitions once more: we join again instead.
            logging.warning("not committed, so it comes again: %s", offsets)
            # What we hold is no longer ours, until we get a new share.
            self.client.pause(*self.client.assignment())

    async def delete_up_to(self, record: ConsumerRecord) -> None:
        """Delete a record, and all that lie before it in its partition."""
        end = RecordsToDelete(record.offset + 1)
        async with administer() as admin:
            await admin.delete_records({place(record): end})

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
                    await answers(self.client)
            for task in tasks.values():
                if task.done():
                    task.result()
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _settle(self) -> None:
        """Let a rebalance wait for the task: nobody else is to begin it."""
        for lock in (self.batch, *self.busy.values()):
            async with lock:
                pass

    async def on_partitions_revoked(self, _: object) -> None:
        await self.settle()

    def on_partitions_assigned(self, _: object) -> None:
        self.moved.set()


def place(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def text(record: ConsumerRecord) -> str:
    """Return the body, of any bytes or none; `raw()` makes it bytes again."""
    return (record.value or b"").decode(errors="surrogateescape")


def number_in(record: ConsumerRecord, header: str, otherwise: float) -> float:
    """Return the number in a header, or `otherwise` if it has none."""
    try:
        return float(dict(record.headers)[header])
    except (KeyError, TypeError, ValueError):
        return otherwise


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
            "auto_offset_reset": "earliest",  # It applies to a new group.
            "session_timeout_ms": SESSION,
            "heartbeat_interval_ms": SESSION // 6,  # It tells of rebalances.
            "max_poll_interval_ms": LONGEST_TASK,
            "rebalance_timeout_ms": LONGEST_TASK,
            **options,
        },
    )
    shares = not isinstance(source[0], TopicPartition)
    consumer = Consumer(client, shares)
    try:
        async with in_time("start of a consumer"):
            await client.start()
        if shares:
            client.subscribe(source, listener=consumer)
        else:
            client.assign(source)
        yield consumer
    finally:
        await close(client.stop)  # It leaves, or others would wait.


@asynccontextmanager
async def listen(
    one: TopicPartition, take: Callable[[ConsumerRecord], None]
) -> AsyncIterator[asyncio.Future[Any]]:
    """Take each record that comes from now on; yield what ends if it fails.

    It is in no group: whoever listens gets everything.
    """
    latest = {"auto_offset_reset": "latest"}
    async with consume(None, "listener", one, **latest) as consumer:

        async def take_each() -> None:
            while True:
                async with consumer.next() as record:
                    take(record)

        async with in_time(f"the end of {one}"):
            await consumer.client.position(one)  # now it knows what is new
        listening = asyncio.ensure_future(take_each())
        try:
            yield listening
        finally:
            listening.cancel()
            await asyncio.wait([listening])


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a demonstration, or end with one line if there is no server."""

    async def demonstration() -> None:
        logging.disable()  # The client's own words would come before ours.
        try:
            async with administer():
                pass
        except (OSError, KafkaError) as error:
            raise SystemExit(
                f"no connection to Kafka at {BOOTSTRAP} ({error}): "
                "docker compose up --wait kafka starts it, "
                "or make brokers ONLY=kafka"
            ) from error
        logging.disable(logging.NOTSET)
        await main()

    asyncio.run(demonstration())
