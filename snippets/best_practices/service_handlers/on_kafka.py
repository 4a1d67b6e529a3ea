# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Several handlers at once on Kafka: commit up to the first not done."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
TOPIC, GROUP = "transcode", "transcoders"
AT_ONCE, IDLE_SECONDS = 4, 10
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 4  # tasks: those behind the one in work, too

Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True
    ) as producer:
        yield producer


async def submit(producer: AIOKafkaProducer, tasks: Sequence[str]) -> None:
    for task in tasks:
        await producer.send_and_wait(TOPIC, task.encode())


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    held: dict[TopicPartition, set[int]] = defaultdict(set)
    running: set[asyncio.Task[None]] = set()

    async def one(where: TopicPartition, offset: int, body: bytes) -> None:
        await handle(body.decode(errors="surrogateescape"))
        held[where].remove(offset)  # if it failed, it stays held

    async def commit() -> None:
        for where in consumer.assignment():
            # Up to the lowest that is held, or to what was taken last.
            end = await consumer.position(where)
            await consumer.commit({where: min(held[where], default=end)})

    @ConsumerRebalanceListener.register
    class Settle:
        async def on_partitions_revoked(self, _: object) -> None:
            if running:  # or the next owner would do it at the same time
                await asyncio.wait(running)
            await commit()

        def on_partitions_assigned(self, _: object) -> None:
            pass

    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits what is taken, done or not
        auto_offset_reset="earliest",
    )
    consumer.subscribe([TOPIC], listener=Settle())
    try:
        await consumer.start()
        while True:
            room = at_once - len(running)
            polled = await consumer.getmany(timeout_ms=200, max_records=room)
            for record in chain.from_iterable(polled.values()):
                where = TopicPartition(TOPIC, record.partition)
                held[where].add(record.offset)
                task = one(where, record.offset, record.value or b"")
                running.add(asyncio.create_task(task))
            if len(running) == at_once:
                await asyncio.wait(running, return_when="FIRST_COMPLETED")
            finished = {task for task in running if task.done()}
            running -= finished
            for task in finished:
                task.result()  # raises what its handler raised
            if finished:
                await commit()
    finally:
        for task in running:
            task.cancel()
        await consumer.stop()


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as producer:
        await submit(producer, TASKS)
    for count in (3, AGAIN):
        worker = asyncio.create_task(work(transcode))
        async with asyncio.timeout(60):
            tasks = sorted([await done.get() for _ in range(count)])
        print("a worker did", *tasks)
        await asyncio.sleep(1)  # and acknowledges
        worker.cancel()  # as if its process ended
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    asyncio.run(main())
