# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Request-reply on Kafka: each requestor gets its own replies."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

import kafka_client
from kafka_client import connect, consume, listen, number_in, run, send, text

REQUESTS, REPLIES, GROUP = "lengths", "lengths.replies", "repliers"
PARTITIONS = 2  # no more repliers, and no more reply addresses, than these
Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    await kafka_client.create_topics(REQUESTS, REPLIES, partitions=PARTITIONS)


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Choose a partition for replies; what it yields serves many at once."""
    waiting: dict[bytes, asyncio.Future[str]] = {}
    mine = TopicPartition(REPLIES, random.randrange(PARTITIONS))
    reply_to = ("reply_to", b"%d" % mine.partition)

    def take(record: ConsumerRecord) -> None:  # It may be another's reply.
        number = dict(record.headers).get("correlation_id", b"")
        if reply := waiting.pop(number, None):
            reply.set_result(text(record))

    async def request(body: str, seconds: float) -> str:
        number, until = uuid4().hex.encode(), b"%f" % (time.time() + seconds)
        headers = [reply_to, ("correlation_id", number), ("deadline", until)]
        reply = waiting[number] = asyncio.Future()
        try:
            async with asyncio.timeout(seconds):
                await send(producer, REQUESTS, body, headers=headers)
                both = {reply, listener}
                await asyncio.wait(both, return_when="FIRST_COMPLETED")
        except TimeoutError:
            raise TimeoutError("no reply in time") from None
        finally:
            waiting.pop(number, None)
        if listener.done():
            listener.result()  # It raises why: enter requestor() again.
        return reply.result()

    async with connect() as producer, listen(mine, take) as listener:
        yield request


async def serve(replier: str, handle: Handler) -> None:
    opened = consume(GROUP, replier, REQUESTS)
    async with opened as consumer, connect() as producer:
        while True:
            async with consumer.next() as record:
                to = number_in(record, "reply_to", -1)
                if to not in range(PARTITIONS):
                    logging.warning("not a request: %r", record)
                elif time.time() < number_in(record, "deadline", 0):
                    body = await handle(text(record))
                    its = {"partition": int(to), "headers": [*record.headers]}
                    await send(producer, REPLIES, body, **its)
                await consumer.commit(record)


async def main() -> None:
    async def probe(video: str) -> str:
        # This is longer than the owl's requestor waits.
        await asyncio.sleep(1.5 if video == "owl.mp4" else 0)
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(serve("replier", probe))
    async with requestor() as request:
        both = request("cat.mp4", 30), request("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await request("owl.mp4", 0.5)
        except TimeoutError as error:
            print("owl.mp4:", error)
        print(await request("zebra.mp4", 30))  # owl's reply comes before it
    replier.cancel()
    await asyncio.wait([replier])  # Else asyncio.run() cuts it off.


if __name__ == "__main__":
    run(main)
