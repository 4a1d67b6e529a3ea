# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Event replay on Kafka: a new reader seeks to the topic's beginning."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
VIEWS = TopicPartition("views", 0)  # one partition: events stay in order
KEEP = {"retention.ms": "-1"}  # for ever; the default is 7 days
# Fields that events got later, and what stands for them in older events.
ADDED = {"kind": "viewed", "country": "unknown"}
EVENTS = [
    '{"video":"cat.mp4"}',
    '{"video":"dog.mp4","country":"AT"}',
    '{"kind":"liked","video":"dog.mp4"}',
    "viewed dog.mp4",
    '{"video":"cat.mp4","country":"AT"}',
]

State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, position: int, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position + 1  # where to go on
    try:
        event = ADDED | json.loads(body.decode())  # more fields: ignored
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][str(position)] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # the views and the position together, or neither


async def _declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3.
        topic = NewTopic(VIEWS.topic, 1, 1, topic_configs=KEEP)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


def reader() -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=None,  # no group: the offset is stored with the state
        auto_offset_reset="none",  # an offset that is deleted is an error
    )
    consumer.assign([VIEWS])
    return consumer


async def publish(events: Sequence[str]) -> None:
    await _declare()
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        confirms = []
        for event in events:
            body = event.encode(errors="surrogateescape")
            confirms.append(
                await producer.send(VIEWS.topic, body, partition=0)
            )
        await asyncio.gather(*confirms)


async def replay(file: str, by: str = "video") -> State:
    await _declare()
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    async with reader() as consumer:
        await consumer.seek_to_beginning(VIEWS)
        end = (await consumer.end_offsets([VIEWS]))[VIEWS]
        while await consumer.position(VIEWS) < end:
            found = await consumer.getmany(VIEWS, timeout_ms=1_000)
            for record in found.get(VIEWS, []):
                take(state, record.offset, record.value or b"")
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    async with reader() as consumer:
        consumer.seek(VIEWS, state["at"])
        while not limit or done < limit:
            record = await consumer.getone()
            if take(state, record.offset, record.value or b""):
                await handle(record.value.decode())
                done += 1
            save(file, state)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay: here, of nothing
        await publish(EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    asyncio.run(main())
