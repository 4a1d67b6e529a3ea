# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Dead letter channel on Kafka: a topic that the worker writes to."""

import json
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition

from kafka_client import connect, consume, copy, create_topics, run, send, text

TOPIC, GROUP = "transcode", "transcoders"
DEAD = TopicPartition("transcode.dead", 0)
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    await create_topics(TOPIC)
    # They are kept for ever: the default of 7 days deletes them unseen.
    await create_topics(DEAD.topic, configs={"retention.ms": "-1"})


async def submit(producer: AIOKafkaProducer, messages: Sequence[str]) -> None:
    for body in messages:
        await send(producer, TOPIC, body)


async def work(
    producer: AIOKafkaProducer,
    worker: str,
    handle: Handler,
    limit: int | None = None,
) -> None:
    settled = 0  # It counts what is done or dead.
    async with consume(GROUP, worker, TOPIC) as consumer:
        while not limit or settled < limit:
            async with consumer.next() as record:
                # All attempts at once: what follows in the partition waits,
                # and a worker that dies has not counted.
                for number in range(1, LIMIT + 1):
                    video = ""
                    try:
                        video = str(json.loads(record.value or b"")["video"])
                        await handle(video)
                        break
                    except Exception as error:
                        if number == LIMIT or not video:
                            why = {"reason": repr(error)[:200]}
                            why["attempts"] = str(number)
                            await copy(producer, DEAD, record, why)
                            break
                await consumer.commit(record)
            settled += 1


async def dead(
    producer: AIOKafkaProducer, redrive: bool = False
) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async with consume(None, "operator", DEAD) as consumer:
        async for letter in consumer.rest(DEAD, skips=not redrive):
            why = dict(letter.headers)  # another program's letter has none
            tried = int(why.get("attempts") or 0)
            reason = (why.get("reason") or b"?").decode(errors="replace")
            found.append((text(letter), reason, tried))
            if redrive:
                await copy(producer, TOPIC, letter, {})
                # A log is deleted from its start, and none is older.
                await consumer.delete_up_to(letter)
    return found


async def main() -> None:
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await declare()
    async with connect() as producer:
        await submit(producer, MESSAGES)
        await work(producer, "A", transcode, limit=3)
        print("dead:", *sorted(await dead(producer)), sep="\n  ")
        unknown.clear()  # a new transcoder is installed
        await dead(producer, redrive=True)
        await work(producer, "A", transcode, limit=2)
        print("dead again:", *await dead(producer), sep="\n  ")


if __name__ == "__main__":
    run(main)
