# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Several handlers at once on RabbitMQ: each task has its own ack."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 1  # task has to be done again: the one in work

Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AbstractChannel]:
    # After three heartbeats without a sign, a connection is given up.
    async with await aio_pika.connect(URL, timeout=10, heartbeat=10) as opened:
        channel = await opened.channel(on_return_raises=True)
        # A queue that is deleted ends its consumer, and aio-pika says nothing.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: opened.close(ConnectionError("consumer cancelled"))
        )
        yield channel


async def declare(channel: AbstractChannel) -> None:
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(channel: AbstractChannel, tasks: Sequence[str]) -> None:
    for task in tasks:
        message = aio_pika.Message(task.encode(), delivery_mode=2)
        await channel.default_exchange.publish(message, QUEUE, timeout=10)


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

    async def take_turns() -> None:
        while message := await inbox.get():
            await handle(message.body.decode(errors="surrogateescape"))
            await message.ack()  # of this task alone
        raise ConnectionError("RabbitMQ has ended the connection")

    # A connection of its own: with it, what the worker holds goes back.
    async with connect() as channel:
        channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        # The server sends no more than are in work here.
        await channel.set_qos(prefetch_count=at_once)
        await (await channel.get_queue(QUEUE)).consume(inbox.put)
        try:
            async with asyncio.TaskGroup() as handlers:
                for _ in range(at_once):
                    handlers.create_task(take_turns())
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
        await asyncio.sleep(1)  # and acknowledges
        worker.cancel()  # as if its process ended
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    asyncio.run(main())
