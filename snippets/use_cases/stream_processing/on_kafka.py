# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Views per video and minute on Kafka: each is counted once, crash or no."""

import asyncio
import json
import os
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
JOB = "view-counter"  # its consumer group, and its transactional id
VIEWS, COUNTS = "views", "counts"
LATE, MALFORMED = "late-views", "malformed-views"
WINDOW = 60  # seconds: views of one minute are counted together
GRACE = 30  # seconds that a view may arrive out of order
CLOCK = "clock"  # the latest view so far: the stream's time, not ours
State = dict[str, int]


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    # Of each key the last value, and nothing that is older than 7 days.
    policy = {"cleanup.policy": "compact,delete"}
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3.
        counts = NewTopic(COUNTS, 1, 1, topic_configs=policy)
        others = [NewTopic(name, 1, 1) for name in (VIEWS, LATE, MALFORMED)]
        await admin.create_topics([counts, *others])
    finally:
        await admin.close()


async def watch(views: Sequence[object]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        for view in views:
            await producer.send_and_wait(VIEWS, json.dumps(view).encode())


def reader(partition: TopicPartition) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=JOB,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # the transaction commits the offset
        isolation_level="read_committed",  # hides what a crash left behind
    )
    consumer.assign([partition])
    return consumer


async def read_state() -> State:
    """Read the counts from the first to the last, which stays."""
    state: State = {}
    place = TopicPartition(COUNTS, 0)
    async with reader(place) as consumer:
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            batch = await consumer.getmany(timeout_ms=100)
            for record in batch.get(place, []):
                state[record.key.decode()] = int(record.value)
    return state


def is_open(start: int, now: int) -> bool:
    return now < start + WINDOW + GRACE


def take(state: State, view: bytes) -> State | None:
    """Return what a view changes, or None if its window is closed."""
    second, video = json.loads(view)
    video.encode()  # raises if it is no text, as int() does for the second
    start = int(second) - int(second) % WINDOW
    now = max(int(second), state.get(CLOCK, 0))
    key = f"{video} from {start}"
    counted = {key: state.get(key, 0) + 1, CLOCK: now}
    return counted if is_open(start, now) else None


async def count(limit: int, crash: bool = False) -> None:
    place = TopicPartition(VIEWS, 0)
    async with AIOKafkaProducer(
        # Its start aborts what the one before left open, and locks it out.
        bootstrap_servers=BOOTSTRAP,
        transactional_id=JOB,
    ) as producer:
        state = await read_state()
        print("read back:", state)
        async with reader(place) as consumer:
            while limit > 0:
                batch = await consumer.getmany(timeout_ms=1000, max_records=3)
                if not (views := batch.get(place)):
                    continue
                async with producer.transaction():
                    for view in [record.value or b"" for record in views]:
                        try:
                            counted, aside = take(state, view), LATE
                        except Exception:  # or it would stop every counter
                            counted, aside = None, MALFORMED
                        if counted is None:
                            print(f"{aside}:", view.decode(errors="replace"))
                            await producer.send(aside, view)
                            continue
                        state |= counted
                        for key, value in counted.items():
                            await producer.send(
                                COUNTS, str(value).encode(), key.encode()
                            )
                    if crash:
                        raise RuntimeError("after the writes")
                    await producer.send_offsets_to_transaction(
                        {place: views[-1].offset + 1}, JOB
                    )
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
    asyncio.run(main())
