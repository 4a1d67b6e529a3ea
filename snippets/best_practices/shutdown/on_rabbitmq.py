# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Shutdown on RabbitMQ: SIGTERM lets a worker finish what it holds."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractIncomingMessage

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE = "transcode"
GRACE = 25  # seconds; Kubernetes sends SIGKILL after 30

Handler = Callable[[str, int | None], Awaitable[None]]


async def submit(tasks: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        for task in tasks:
            await channel.default_exchange.publish(
                Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT),
                routing_key=QUEUE,
            )


async def work(handle: Handler) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        # Whatever ends the flow of tasks ends the worker: it is started anew.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: stop.set())
        connection.close_callbacks.add(lambda *_: stop.set())
        busy, left = asyncio.Lock(), asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            async with busy:
                if stop.is_set():
                    return  # not begun: it goes back as the connection ends
                told = message.headers.get("x-delivery-count")
                failed = told if isinstance(told, int) else 0
                await handle(message.body.decode(), failed + 1)
                if stop.is_set():
                    await left.wait()  # or the ack brings another task
                await message.ack()

        queue = await channel.get_queue(QUEUE)
        consumer = await queue.consume(take)
        await stop.wait()
        await queue.cancel(consumer)  # no new tasks
        left.set()
        async with asyncio.timeout(GRACE), busy:
            pass  # what was held is done and acknowledged


async def main() -> None:
    await submit(["transcode cat.mp4", "transcode dog.mp4"])

    async def handle(task: str, delivery: int | None) -> None:
        print(f"{task}: delivery {delivery}")
        os.kill(os.getpid(), signal.SIGTERM)  # as an orchestrator would
        await asyncio.sleep(0.1)
        print(f"{task}: done, in spite of SIGTERM")

    await work(handle)
    print("the worker has left; the next one finds")
    await work(handle)


if __name__ == "__main__":
    asyncio.run(main())
