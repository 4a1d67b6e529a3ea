# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Several handlers at once on NATS JetStream: each task has its own ack."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy

from nats_client import connect, consume

QUEUE, WORKERS = "transcode", "workers"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(
        name=QUEUE, subjects=[QUEUE], retention=RetentionPolicy.WORK_QUEUE
    )
    await jetstream.add_consumer(
        QUEUE, durable_name=WORKERS, ack_wait=ACK_WAIT
    )


async def submit(jetstream: JetStreamContext, tasks: Sequence[str]) -> None:
    for task in tasks:
        await jetstream.publish(QUEUE, task.encode())


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    held: list[Msg] = []

    async def take_turns(jetstream: JetStreamContext) -> None:
        async for message in consume(jetstream, QUEUE, WORKERS):
            held.append(message)
            await handle(message.data.decode(errors="surrogateescape"))
            held.remove(message)
            await message.ack_sync()  # of this task alone

    async def renew() -> None:
        while True:  # tell the server what is in work, however long it takes
            await asyncio.sleep(ACK_WAIT / 4)
            for message in held[:]:
                await message.in_progress()

    async with connect() as jetstream:
        try:
            async with asyncio.TaskGroup() as handlers:
                handlers.create_task(renew())
                for _ in range(at_once):
                    handlers.create_task(take_turns(jetstream))
        except ExceptionGroup as failed:  # the first of them is the cause
            raise failed.exceptions[0] from None


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, TASKS)
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
