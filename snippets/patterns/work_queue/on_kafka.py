# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Work queue on Kafka: each task goes to one worker, crash or no."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, cycle

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, GROUP = "transcode", "transcoders"
PARTITIONS = 2  # no more workers than partitions are ever busy
SESSION = 6_000  # ms until a silent worker is dead; usual: 45_000
LONGEST_TASK = 300_000  # ms; a slower worker is thought stuck and replaced
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]
# It begins anywhere: short programs would otherwise all fill partition 0.
turns = cycle(random.sample(range(PARTITIONS), PARTITIONS))


async def declare() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    try:
        await admin.start()
        # One replica suits one server; on a cluster take 3, and set
        # min.insync.replicas=2, or acks="all" may mean the leader alone.
        topic = NewTopic(TOPIC, PARTITIONS, replication_factor=1)
        answer = await admin.create_topics([topic])
        for _, code, reason in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(reason)
    finally:
        await admin.close()


async def submit(tasks: Sequence[str]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        # In turn, for equal shares; by itself the client takes any.
        confirms = [
            await producer.send(TOPIC, task.encode(), partition=next(turns))
            for task in tasks
        ]
        await asyncio.gather(*confirms)


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
        # Kafka has no prefetch limit: a partition is one worker's, with all
        # that is in it. This is how many tasks a rebalance may wait for.
        max_poll_records=prefetch,
        session_timeout_ms=SESSION,
        heartbeat_interval_ms=SESSION // 6,  # also tells of rebalances
        max_poll_interval_ms=LONGEST_TASK,
        rebalance_timeout_ms=LONGEST_TASK,
    )
    busy = Busy()
    consumer.subscribe([TOPIC], listener=busy)
    done = 0
    try:
        await consumer.start()
        while True:
            polled = await consumer.getmany(timeout_ms=1_000)
            async with busy:
                for record in chain.from_iterable(polled.values()):
                    body = record.value or b""  # any bytes, or none
                    await handle(body.decode(errors="surrogateescape"), None)
                    partition = TopicPartition(TOPIC, record.partition)
                    await consumer.commit({partition: record.offset + 1})
                    done += 1
                    if done == limit:
                        return
    finally:
        await consumer.stop()  # leaves the group, or others wait for SESSION


async def main() -> None:
    await declare()
    await submit(TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
