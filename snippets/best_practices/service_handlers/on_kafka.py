# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Several handlers at once on Kafka: commit up to the first not done."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from kafka_client import SERVERS, close, connect, create_topics, in_time, send

TOPIC, GROUP = "transcode", "transcoders"
AT_ONCE, IDLE_SECONDS = 4, 10
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 4  # tasks: those behind the one in work, too

Handler = Callable[[str], Awaitable[None]]


async def declare(_: AIOKafkaProducer) -> None:
    await create_topics(TOPIC)


async def submit(producer: AIOKafkaProducer, tasks: Sequence[str]) -> None:
    for task in tasks:
        await send(producer, TOPIC, task)


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    held: dict[TopicPartition, set[int]] = defaultdict(set)
    running: set[asyncio.Task[None]] = set()

    async def one(where: TopicPartition, offset: int, body: bytes) -> None:
        await handle(body.decode(errors="surrogateescape"))
        held[where].remove(offset)  # if it failed, it stays held

    async def commit() -> None:
        async with in_time("commit"):
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
        **SERVERS,
        group_id=GROUP,
        enable_auto_commit=False,  # it commits what is taken, done or not
        auto_offset_reset="earliest",
    )
    consumer.subscribe([TOPIC], listener=Settle())
    try:
        async with in_time("start of a consumer"):
            await consumer.start()
        while True:
            room = at_once - len(running)
            polled = await consumer.getmany(timeout_ms=1_000, max_records=room)
            if not polled and not running:
                async with in_time("nothing comes: is Kafka there?"):
                    await consumer.topics()
                await commit()  # also behind the marker of a transaction
            for record in chain.from_iterable(polled.values()):
                where = TopicPartition(TOPIC, record.partition)
                held[where].add(record.offset)
                work_on = one(where, record.offset, record.value or b"")
                running.add(asyncio.create_task(work_on))
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
        await close(consumer.stop)  # leaves the group, or others wait


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as producer:
        await declare(producer)
        await submit(producer, TASKS)
    for count in (3, AGAIN):
        worker = asyncio.create_task(work(transcode))
        async with asyncio.timeout(60):
            tasks = sorted([await done.get() for _ in range(count)])
        print("a worker did", *tasks)
        await asyncio.sleep(3)  # and acknowledges, on a busy machine too
        worker.cancel()  # as if its process ended
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    asyncio.run(main())
