# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Several handlers at once on NATS JetStream: each task has its own ack."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from nats_client import (
    SECONDS,
    connect,
    consume,
    declare_queue,
    renewed,
    run,
    text,
)

QUEUE, WORKERS = "transcode", "workers"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await declare_queue(jetstream, QUEUE, WORKERS, ACK_WAIT)


async def submit(jetstream: JetStreamContext, tasks: Sequence[str]) -> None:
    for task in tasks:
        await jetstream.publish(QUEUE, task.encode())


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
    held: list[Msg] = []

    async def take_turns(jetstream: JetStreamContext) -> None:
        async for message in consume(jetstream, QUEUE, WORKERS):
            held.append(message)
            await _safely(handle, text(message))
            held.remove(message)
            await message.ack_sync(SECONDS)  # It is for this task alone.

    async with connect() as jetstream, renewed(held, ACK_WAIT):
        try:
            async with asyncio.TaskGroup() as handlers:
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
        await asyncio.sleep(3)  # It acknowledges, on a busy machine too.
        worker.cancel()  # This is as if its process ended.
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    run(main)
