# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Several handlers at once on RabbitMQ: each task has its own ack."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rabbitmq_client import connect, consume, declare_queue, publish, run

QUEUE = "transcode"
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    await declare_queue(channel, QUEUE, {})


async def submit(channel: AbstractChannel, tasks: Sequence[str]) -> None:
    for task in tasks:
        await publish(channel, QUEUE, task.encode())


async def _safely(handle: Handler, name: str) -> None:
    try:
        await handle(name)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # the worker is to end
            raise
        # A TaskGroup would let that pass, and go on without this handler.
        raise RuntimeError(f"cancelled in its handler: {name}") from error


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    async def one(message: AbstractIncomingMessage) -> None:
        body = message.body.decode(errors="surrogateescape")
        await _safely(handle, body)
        await message.ack()  # It is for this task alone.

    # A connection of its own: with it, what the worker holds goes back.
    async with connect() as channel:
        try:
            async with (
                # The server sends no more than are in work here.
                consume(channel, QUEUE, prefetch=at_once) as messages,
                asyncio.TaskGroup() as handlers,
            ):
                async for message in messages:
                    handlers.create_task(one(message))
                raise ConnectionError("RabbitMQ has ended the consumer")
        except ExceptionGroup as failed:  # the first of them is the cause
            raise failed.exceptions[0] from None


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as channel:
        await declare(channel)
        await submit(channel, TASKS)
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
