# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Dead letter channel on Kafka: a topic that the worker writes to."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, GROUP = "transcode", "transcoders"
DEAD, REDRIVE = TopicPartition("transcode.dead", 0), "transcode.redrive"
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    # One replica suits one server; on a cluster take 3.
    queue = NewTopic(TOPIC, 1, replication_factor=1)
    # Kept for ever: usual are 7 days, and then they are gone unseen.
    kept = {"retention.ms": "-1"}
    letters = NewTopic(DEAD.topic, 1, 1, topic_configs=kept)
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        answer = await admin.create_topics([queue, letters])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


def producing() -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    )


def consuming(group: str, name: str, *topics: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *topics,  # no value_deserializer: its errors would stop the consumer
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        client_id=name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def submit(messages: Sequence[str]) -> None:
    async with producing() as producer:
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            await producer.send_and_wait(TOPIC, raw)


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    async with (
        producing() as producer,
        consuming(GROUP, worker, TOPIC) as consumer,
    ):
        async for record in consumer:
            body = record.value or b""
            # All attempts at once: what follows in the partition waits, and
            # a worker that dies has not counted.
            for number in range(1, LIMIT + 1):
                video = ""
                try:
                    video = str(json.loads(body)["video"])
                    await handle(video)
                    break
                except Exception as error:
                    if number == LIMIT or not video:
                        await bury(producer, body, repr(error)[:200], number)
                        break
            partition = TopicPartition(TOPIC, record.partition)
            await consumer.commit({partition: record.offset + 1})
            settled += 1
            if settled == limit:
                return


async def bury(
    producer: AIOKafkaProducer, body: bytes, reason: str, number: int
) -> None:
    why = [("reason", reason.encode()), ("attempts", str(number).encode())]
    await producer.send_and_wait(DEAD.topic, body, headers=why)


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async with consuming(REDRIVE, "operator") as consumer:
        consumer.assign([DEAD])
        end = (await consumer.end_offsets([DEAD]))[DEAD]
        # A log removes nothing: dead is what was not sent back yet.
        while await consumer.position(DEAD) < end:
            letter = await consumer.getone()
            body = letter.value.decode(errors="surrogateescape")
            why = dict(letter.headers)
            found.append((body, why["reason"].decode(), int(why["attempts"])))
            if redrive:
                await submit([body])
                await consumer.commit({DEAD: letter.offset + 1})
    return found


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
