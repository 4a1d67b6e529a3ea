# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Shutdown on RabbitMQ: SIGTERM lets a worker finish what it holds."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractChannel

from rabbitmq_client import connect, consume, declare_queue, publish, run, text

QUEUE = "transcode"
GRACE = 25  # seconds; Kubernetes sends SIGKILL after 30

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    await declare_queue(channel, QUEUE, {})


async def submit(channel: AbstractChannel, tasks: Sequence[str]) -> None:
    await declare(channel)
    for task in tasks:
        await publish(channel, QUEUE, task.encode())


@asynccontextmanager
async def no_limit_yet() -> AsyncIterator[asyncio.Timeout]:
    """Yield a clock that SIGTERM starts; say so when it has run out."""
    try:
        async with asyncio.timeout(None) as limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise  # It is the handler's own.
        late = f"still at work {GRACE} s after SIGTERM: the task goes back"
        raise TimeoutError(late) from None


async def work(handle: Handler) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Whatever else ends the flow of tasks raises: the worker is started anew.
    async with (
        connect() as channel,
        consume(channel, QUEUE) as messages,
        no_limit_yet() as limit,
    ):

        async def leave() -> None:
            await stop.wait()
            limit.reschedule(loop.time() + GRACE)
            await messages.close()  # No new tasks come: the loop below ends.

        leaving = asyncio.create_task(leave())
        async for message in messages:
            told = message.headers.get("x-delivery-count")
            failed = told if isinstance(told, int) else 0
            task = text(message)
            await handle(task, failed + 1)
            if stop.is_set():
                await leaving  # Else the ack brings another task.
            await message.ack()


async def main() -> None:
    async def handle(task: str, delivery: int | None) -> None:
        print(f"{task}: delivery {delivery}")
        os.kill(os.getpid(), signal.SIGTERM)  # An orchestrator does this.
        await asyncio.sleep(0.1)
        print(f"{task}: done, in spite of SIGTERM")

    async with connect() as channel:
        await submit(channel, ["transcode cat.mp4", "transcode dog.mp4"])
    await work(handle)
    print("the worker has left; the next one finds")
    await work(handle)


if __name__ == "__main__":
    run(main)
