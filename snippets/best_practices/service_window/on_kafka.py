# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""A window of confirms on Kafka: the client sends them in batches."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC = "transcode"
WINDOW = 500  # a request takes a batch of them, so more than elsewhere


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,  # bytes; 16 KiB by default
        linger_ms=5,  # wait so long for a batch to fill
    ) as producer:
        yield producer


async def declare(_: AIOKafkaProducer) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        answer = await admin.create_topics([NewTopic(TOPIC, 1, 1)])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def submit(
    producer: AIOKafkaProducer, tasks: Iterable[str], window: int = WINDOW
) -> None:
    open_ = deque[asyncio.Future[object]]()
    for task in tasks:
        open_.append(await producer.send(TOPIC, task.encode()))
        if len(open_) == window:
            await open_.popleft()  # the oldest; raises if it failed
    await asyncio.gather(*open_)


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as producer:
        await declare(producer)
        await submit(producer, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    asyncio.run(main())
