# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Views per video and minute on Kafka: each is counted once, crash or no."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from kafka_client import (
    Consumer,
    connect,
    consume,
    create_topics,
    in_time,
    run,
    send,
)

JOB = "view-counter"  # its consumer group, and its transactional id
VIEWS, COUNTS = "views", "counts"
LATE, MALFORMED = "late-views", "malformed-views"
WINDOW = 60  # seconds: views of one minute are counted together
GRACE = 30  # seconds that a view may arrive out of order
CLOCK = "clock"  # the latest view so far: the stream's time, not ours
COUNT = re.compile(rb"clock|.+ from \d+", re.DOTALL)  # a key of ours
State = dict[str, int]


async def declare() -> None:
    # Of each key the last value, and nothing that is older than 7 days.
    policy = {"cleanup.policy": "compact,delete"}
    await create_topics(COUNTS, configs=policy)
    await create_topics(VIEWS, LATE, MALFORMED)


async def watch(views: Sequence[object]) -> None:
    async with connect() as producer:
        for view in views:
            await send(producer, VIEWS, json.dumps(view))


def reader(place: TopicPartition) -> AbstractAsyncContextManager[Consumer]:
    committed = "read_committed"  # It hides what a crash left behind.
    return consume(JOB, "counter", place, isolation_level=committed)


async def read_state() -> State:
    """Read the counts from the first to the last, which stays."""
    state: State = {}
    place = TopicPartition(COUNTS, 0)
    async with reader(place) as consumer:
        async for record in consumer.rest(place):
            if record.value and COUNT.fullmatch(record.key or b""):
                state[record.key.decode()] = int(record.value)
    return state


def is_open(start: int, now: int) -> bool:
    return now < start + WINDOW + GRACE


def take(state: State, view: bytes) -> State | None:
    """Return what a view changes, or None if its window is closed."""
    second, video = json.loads(view)
    video.encode()  # It raises if it is no text, as int() does.
    start = int(second) - int(second) % WINDOW
    now = max(int(second), state.get(CLOCK, 0))
    key = f"{video} from {start}"
    counted = {key: state.get(key, 0) + 1, CLOCK: now}
    return counted if is_open(start, now) else None


async def book(
    producer: AIOKafkaProducer, state: State, views: Sequence[ConsumerRecord]
) -> None:
    """Write what the views change, within a transaction."""
    for view in [record.value or b"" for record in views]:
        try:
            counted, aside = take(state, view), LATE
        except Exception:  # Else it would stop every counter.
            counted, aside = None, MALFORMED
        if counted is None:
            print(f"{aside}:", view.decode(errors="replace"))
            await producer.send(aside, view)
            continue
        state |= counted
        for key, value in counted.items():
            await producer.send(COUNTS, str(value).encode(), key.encode())


async def count(limit: int, crash: bool = False) -> None:
    place = TopicPartition(VIEWS, 0)
    # Its start aborts what the one before left open, and locks it out.
    async with connect(transactional_id=JOB) as producer:
        state = await read_state()
        print("read back:", state)
        async with reader(place) as consumer:
            while limit > 0:
                async with consumer.many(3) as polled:
                    views = polled[place]
                if not views:
                    continue
                # Should it end in between, the next one's start aborts it.
                async with in_time("a transaction"):
                    await producer.begin_transaction()
                    await book(producer, state, views)
                    if crash:
                        raise RuntimeError("after the writes")
                    await producer.send_offsets_to_transaction(
                        {place: views[-1].offset + 1}, JOB
                    )
                    await producer.commit_transaction()
                state = {  # memory holds the open windows only
                    key: value
                    for key, value in state.items()
                    if key == CLOCK
                    or is_open(int(key.split()[-1]), state[CLOCK])
                }
                limit -= len(views)


async def main() -> None:
    await declare()
    await watch([(5, "cat"), (20, "cat"), (50, "dog")])
    await count(limit=3)
    await watch([(70, "cat"), (40, "cat"), (130, "dog")])
    try:
        await count(limit=3, crash=True)
    except RuntimeError as error:
        print("crashed", error)
    await watch([(55, "cat"), "cat"])
    await count(limit=5)
    await count(limit=0)


if __name__ == "__main__":
    run(main)
