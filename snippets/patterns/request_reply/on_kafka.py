# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Request-reply on Kafka: each asker gets its own answers."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition

from kafka_client import connect, consume, create_topics, send, text

QUESTIONS, REPLIES, GROUP = "lengths", "lengths.replies", "repliers"
PARTITIONS = 2  # no more repliers, and no more reply addresses, than these
Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    await create_topics(QUESTIONS, REPLIES, partitions=PARTITIONS)


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Choose a partition for answers; what it yields serves many at once."""
    waiting: dict[bytes, asyncio.Future[str]] = {}

    async def listen() -> str:
        while True:  # other askers' answers are among them
            async with consumer.next() as record:
                number = dict(record.headers).get("correlation_id", b"")
                if number in waiting and not waiting[number].done():
                    waiting[number].set_result(text(record))

    async def ask(question: str, seconds: float) -> str:
        number = uuid4().hex.encode()
        answer = waiting[number] = asyncio.Future()
        to, deadline = replies.partition, time.time() + seconds
        headers = [("reply_to", b"%d" % to), ("deadline", b"%f" % deadline)]
        headers.append(("correlation_id", number))
        try:
            async with asyncio.timeout(seconds):
                await send(producer, QUESTIONS, question, headers=headers)
                both = {answer, listener}
                await asyncio.wait(both, return_when="FIRST_COMPLETED")
        finally:
            del waiting[number]
        if listener.done():  # ask in a new asker()
            raise ConnectionError("no more answers") from listener.exception()
        return answer.result()

    replies = TopicPartition(REPLIES, random.randrange(PARTITIONS))
    latest = {"auto_offset_reset": "latest"}
    # No group: nobody else takes its place.
    opened = consume(None, "asker", replies, **latest)
    async with opened as consumer, connect() as producer:
        await consumer.client.position(replies)  # only now it knows the end
        listener = asyncio.create_task(listen())
        try:
            yield ask
        finally:
            listener.cancel()


async def answer(
    producer: AIOKafkaProducer, replier: str, handle: Handler
) -> None:
    async with consume(GROUP, replier, QUESTIONS) as consumer:
        while True:
            async with consumer.next() as record:
                headers, deadline, to = dict(record.headers), 0.0, -1
                with suppress(KeyError, TypeError, ValueError):
                    number = [("correlation_id", headers["correlation_id"])]
                    deadline = float(headers["deadline"])
                    to = int(headers["reply_to"])
                if to not in range(PARTITIONS):
                    logging.warning("not a question: %r", record)
                elif time.time() < deadline:  # clocks must agree
                    body = await handle(text(record))
                    await send(
                        producer, REPLIES, body, partition=to, headers=number
                    )
                await consumer.commit(record)


async def main() -> None:
    async def probe(video: str) -> str:
        # Longer than the one who asks about the owl waits.
        await asyncio.sleep(1.5 if video == "owl.mp4" else 0)
        return f"{video}: {len(video)} min"

    await declare()
    async with connect() as producer, asker() as ask:
        replier = asyncio.create_task(answer(producer, "replier", probe))
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
