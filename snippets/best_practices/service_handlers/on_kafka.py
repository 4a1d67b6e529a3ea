# /// script
# requires-python = ">=3.11"
# dependencies = ["aiokafka>=0.14"]
# ///
"""Several handlers at once on Kafka: commit up to the first not done."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from kafka_client import (
    connect,
    consume,
    create_topics,
    in_time,
    place,
    run,
    send,
    text,
)

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


async def _safely(handle: Handler, name: str) -> None:
    try:
        await handle(name)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # the worker is to end
            raise
        raise RuntimeError(f"cancelled in its handler: {name}") from error


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    held: dict[TopicPartition, set[int]] = defaultdict(set)
    running: set[asyncio.Task[None]] = set()

    async def one(record: ConsumerRecord) -> None:
        await _safely(handle, text(record))
        held[place(record)].remove(record.offset)  # A failed one stays.

    async def commit_done() -> None:
        async with in_time("positions"):
            # Up to the lowest that is held, or to what was taken last.
            ends = {
                where: min(held[where], default=await position(where))
                for where in consumer.client.assignment()
            }
        if ends:  # There is none before the first share of partitions.
            await consumer.commit_up_to(ends)

    async def settle() -> None:
        if running:  # Else the next owner would do it as well.
            await asyncio.wait(running)
        await commit_done()

    async with consume(GROUP, "worker", TOPIC) as consumer:
        position, consumer.settle = consumer.client.position, settle
        try:
            while True:
                if record := await consumer.poll(1):
                    held[place(record)].add(record.offset)
                    running.add(asyncio.create_task(one(record)))
                elif not running:
                    await commit_done()  # It also gets past a marker.
                if len(running) == at_once:
                    await asyncio.wait(running, return_when="FIRST_COMPLETED")
                finished = {task for task in running if task.done()}
                running -= finished
                for task in finished:
                    task.result()  # It raises what its handler raised.
                if finished:
                    await commit_done()
        finally:
            for task in running:
                task.cancel()


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
        await asyncio.sleep(3)  # It acknowledges, on a busy machine too.
        worker.cancel()  # This is as if its process ended.
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    run(main)
