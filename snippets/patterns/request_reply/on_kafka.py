# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Request-reply on Kafka: each asker gets its own answers."""

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    TopicAlreadyExistsError,
    for_code,
)

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
QUESTIONS, REPLIES, GROUP = "lengths", "lengths.replies", "repliers"
PARTITIONS = 2  # no more repliers, and no more reply addresses, than these
SESSION = 6_000  # ms until a silent replier is dead; usual: 45_000

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        topics = [NewTopic(t, PARTITIONS, 1) for t in (QUESTIONS, REPLIES)]
        created = await admin.create_topics(topics)
        for _, code, reason in created.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Choose a partition for answers; what it yields serves many at once."""
    waiting: dict[bytes, asyncio.Queue[bytes]] = {}

    async def listen() -> None:
        async for record in consumer:  # other askers' answers are among them
            number = dict(record.headers).get("correlation_id", b"")
            if number in waiting and record.value is not None:
                waiting[number].put_nowait(record.value)

    async def ask(question: str, seconds: float) -> str:
        number = uuid4().hex.encode()
        waiting[number] = asyncio.Queue()
        headers = [
            ("reply_to", str(replies.partition).encode()),
            ("correlation_id", number),
            ("deadline", str(time.time() + seconds).encode()),
        ]
        try:
            async with asyncio.timeout(seconds):
                await producer.send_and_wait(
                    QUESTIONS, question.encode(), headers=headers
                )
                return (await waiting[number].get()).decode()
        finally:
            del waiting[number]

    replies = TopicPartition(REPLIES, random.randrange(PARTITIONS))
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP)
    consumer.assign([replies])  # no group: nobody else takes its place
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    async with consumer, producer:
        await consumer.seek_to_end()
        await consumer.position(replies)  # only now does it know the end
        listener = asyncio.create_task(listen())
        try:
            yield ask
        finally:
            listener.cancel()


async def answer(replier: str, handle: Handler) -> None:
    consumer = AIOKafkaConsumer(
        QUESTIONS,
        bootstrap_servers=BOOTSTRAP,
        client_id=replier,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits questions not answered yet
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,
    )
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    async with consumer, producer:
        while True:
            record = await consumer.getone()
            place = TopicPartition(QUESTIONS, record.partition)
            headers = dict(record.headers)
            try:
                question = record.value.decode()
                to = range(PARTITIONS).index(int(headers["reply_to"]))
                number = ("correlation_id", headers["correlation_id"])
                deadline = float(headers["deadline"])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                logging.warning("not a question: %r %r", error, record)
                deadline = 0
            if time.time() < deadline:  # clocks must agree
                reply = (await handle(question)).encode()
                await producer.send_and_wait(
                    REPLIES, reply, None, to, headers=[number]
                )
            # After a rebalance, another has the question and answers again.
            with suppress(CommitFailedError, IllegalStateError):
                await consumer.commit({place: record.offset + 1})


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its asker waits
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(answer("replier", probe))
    async with asker() as ask:
        both = ask("cat.mp4", 30), ask("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await ask("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no answer in time")
        print(await ask("zebra.mp4", 30))  # owl's answer comes before it
    replier.cancel()
    await asyncio.wait([replier])  # else asyncio.run() cuts its client off


if __name__ == "__main__":
    asyncio.run(main())
