# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Partitioned consumers on Kafka: the tasks of a key stay in order."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
CHANNEL, GROUP = "videos", "workers"
SESSION = 6_000  # ms until a silent worker is dead; usual: 45_000
LONGEST_TASK = 300_000  # ms; a slower worker is thought stuck and replaced
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]
Serve = Callable[[TopicPartition, asyncio.Lock], Awaitable[None]]


async def declare(partitions: int = 2) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(CHANNEL, partitions, replication_factor=1)
        await admin.create_topics([topic])  # refused if it is there
        more = {CHANNEL: NewPartitions(total_count=partitions)}
        with suppress(InvalidPartitionsError):  # it has as many, or more
            await admin.create_partitions(more)
        [found] = await admin.describe_topics([CHANNEL])
        while len(found["partitions"]) < partitions:  # not known there yet
            await asyncio.sleep(0.1)
            [found] = await admin.describe_topics([CHANNEL])
    finally:
        await admin.close()


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all",
        enable_idempotence=True,  # a retry cannot overtake what came later
    ) as producer:
        confirms = [  # the client hashes the key to a partition
            await producer.send(CHANNEL, task.encode(), key=key.encode())
            for key, task in tasks
        ]
        await asyncio.gather(*confirms)


@ConsumerRebalanceListener.register
class Serving:
    """One asyncio task for each partition that this worker has now."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.tasks: dict[asyncio.Task[None], asyncio.Lock] = {}
        self.ended = asyncio.get_running_loop().create_future()

    def on_partitions_assigned(self, now: Iterable[TopicPartition]) -> None:
        for partition in now:
            busy = asyncio.Lock()
            task = asyncio.ensure_future(self.serve(partition, busy))
            task.add_done_callback(self.end)
            self.tasks[task] = busy

    async def on_partitions_revoked(self, _: object) -> None:
        for task, busy in self.tasks.items():
            async with busy:  # what it is at is done and committed first
                task.cancel()
        self.tasks.clear()

    def end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.ended.done():
            self.ended.set_result(task)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        client_id=worker,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits tasks that are not done yet
        auto_offset_reset="earliest",  # a partition that was added, too
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,  # also tells of rebalances
        max_poll_interval_ms=LONGEST_TASK,
        rebalance_timeout_ms=LONGEST_TASK,
    )

    async def serve(partition: TopicPartition, busy: asyncio.Lock) -> None:
        while True:
            record = await consumer.getone(partition)
            async with busy:
                body = record.value or b""  # any bytes, or none
                await handle(body.decode(errors="surrogateescape"))
                await consumer.commit({partition: record.offset + 1})
            if next(done) == limit:
                return

    serving = Serving(serve)
    consumer.subscribe([CHANNEL], listener=serving)
    try:  # side by side: a task that hangs holds up its partition only
        await consumer.start()
        (await serving.ended).result()
    finally:
        for task in serving.tasks:
            task.cancel()
        await asyncio.gather(*serving.tasks, return_exceptions=True)
        await consumer.stop()  # leaves the group, or others wait for SESSION


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    asyncio.run(main())
