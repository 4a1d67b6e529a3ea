# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Backpressure on Kafka: the producer reads the lag first, and waits."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, cycle

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, GROUP = "transcode", "transcoders"
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(2)]
LIMIT = 5  # unfinished tasks; usual: what workers do in minutes
RETENTION = 7 * 24 * 3600 * 1000  # ms; then a task is deleted, done or not
SESSION = 6_000  # ms until a silent worker is dead; usual: 45_000
LONGEST_TASK = 300_000  # ms; a slower worker is thought stuck and replaced
LONGEST_PAUSE = 1.0  # seconds
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]
# It begins anywhere: short programs would otherwise all fill partition 0.
turns = cycle(random.sample(range(len(PARTITIONS)), len(PARTITIONS)))


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        keep = {"retention.ms": str(RETENTION)}
        # One replica suits one server; on a cluster take 3.
        topic = NewTopic(TOPIC, len(PARTITIONS), 1, topic_configs=keep)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the topic has taken."""
    # It reads no tasks and joins no group: it only asks how far they are.
    watcher = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP, group_id=GROUP, enable_auto_commit=False
    )
    watcher.assign(PARTITIONS)
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    )
    async with watcher, producer:
        for confirmed, task in enumerate(tasks):
            pause, deadline = 0.05, time.monotonic() + patience
            # Another producer may send in between: LIMIT is not exact.
            while await unfinished(watcher) >= LIMIT:
                if time.monotonic() > deadline:
                    return confirmed  # the caller decides about the rest
                # At random: producers must not all come back at once.
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(2 * pause, LONGEST_PAUSE)
            await producer.send_and_wait(
                TOPIC, task.encode(), partition=next(turns)
            )
        return len(tasks)


async def unfinished(watcher: AIOKafkaConsumer) -> int:
    """Return the group's lag."""
    ends = await watcher.end_offsets(PARTITIONS)
    starts = await watcher.beginning_offsets(PARTITIONS)
    done = {p: await watcher.committed(p) or 0 for p in PARTITIONS}
    return sum(ends[p] - max(done[p], starts[p]) for p in PARTITIONS)


@ConsumerRebalanceListener.register
class Busy(asyncio.Lock):
    """Held during a task: a rebalance waits, so that nobody repeats it."""

    async def on_partitions_revoked(self, _: object) -> None:
        async with self:
            pass

    def on_partitions_assigned(self, _: object) -> None:
        pass


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        client_id=worker,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits tasks that are not done yet
        auto_offset_reset="earliest",  # for the first worker ever
        # No prefetch limit: this is how many tasks a rebalance may wait for.
        max_poll_records=prefetch,
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,  # also tells of rebalances
        max_poll_interval_ms=LONGEST_TASK,
        rebalance_timeout_ms=LONGEST_TASK,
    )
    busy = Busy()
    consumer.subscribe([TOPIC], listener=busy)
    done = 0
    async with consumer:
        while True:
            polled = await consumer.getmany(timeout_ms=1_000)
            async with busy:
                for record in chain.from_iterable(polled.values()):
                    body = record.value or b""  # any bytes, or none
                    await handle(body.decode(errors="surrogateescape"))
                    partition = TopicPartition(TOPIC, record.partition)
                    await consumer.commit({partition: record.offset + 1})
                    done += 1
                    if done == limit:
                        return


async def main() -> None:
    await declare()
    confirmed = await submit(TASKS, patience=0.2)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
