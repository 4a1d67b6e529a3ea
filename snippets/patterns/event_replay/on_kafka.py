# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Event replay on Kafka: a new reader seeks to the topic's beginning."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

import kafka_client
from kafka_client import consume, create_topics, in_time, raw, run, text

VIEWS = TopicPartition("views", 0)  # One partition keeps the order.
KEEP = {"retention.ms": "-1"}  # It is kept for ever, not 7 days.
NONE = {"auto_offset_reset": "none"}  # an offset that is gone is an error
# Fields that events got later, and what stands for them in older events.
ADDED = {"kind": "viewed", "country": "unknown"}
connect = partial(kafka_client.connect, VIEWS.topic, configs=KEEP)
State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, position: int, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position + 1  # It says where to go on.
    try:
        event = ADDED | json.loads(body.decode())  # It ignores more fields.
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
    new.replace(file)  # It changes both together, or neither.


async def publish(producer: AIOKafkaProducer, events: Sequence[str]) -> None:
    async with in_time("confirms"):
        confirms = [
            await producer.send(VIEWS.topic, raw(event), partition=0)
            for event in events
        ]
        await asyncio.gather(*confirms)


async def replay(file: str, by: str = "video") -> State:
    await create_topics(VIEWS.topic, configs=KEEP)
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    # No group: the offset is stored with the state.
    async with consume(None, "replay", VIEWS, **NONE) as consumer:
        await consumer.client.seek_to_beginning(VIEWS)
        async for record in consumer.rest(VIEWS):
            take(state, record.offset, record.value or b"")
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    async with consume(None, "follow", VIEWS, **NONE) as consumer:
        consumer.client.seek(VIEWS, state["at"])
        while not limit or done < limit:
            async with consumer.next() as record:
                if take(state, record.offset, record.value or b""):
                    await handle(text(record))
                    done += 1
            save(file, state)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", event)

    with TemporaryDirectory() as folder:
        await replay(f"{folder}/live")  # a reader begins with one
        async with connect() as producer:
            await publish(producer, ['{"video":"cat","country":"AT"}'])
        print("live:", await follow(f"{folder}/live", notify, limit=1))
        print("new:", await replay(f"{folder}/new", by="country"))


if __name__ == "__main__":
    run(main)
