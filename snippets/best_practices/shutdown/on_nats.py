# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Shutdown on NATS JetStream: finish, or hand the task over at once."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

import nats
from nats.js.api import RetentionPolicy

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
QUEUE, WORKERS = "transcode", "workers"
ACK_WAIT = 60.0  # seconds until a crashed worker's task goes to another
GRACE = 25.0  # seconds; Kubernetes sends SIGKILL after 30

Handler = Callable[[str, int | None], Awaitable[None]]


async def submit(tasks: Sequence[str]) -> None:
    async with await nats.connect(URL) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(
            name=QUEUE, subjects=[QUEUE], retention=RetentionPolicy.WORK_QUEUE
        )
        await jetstream.add_consumer(
            QUEUE, durable_name=WORKERS, ack_wait=ACK_WAIT
        )
        for task in tasks:
            await jetstream.publish(QUEUE, task.encode())


async def work(handle: Handler) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with await nats.connect(URL) as connection:
        queue = await connection.jetstream().pull_subscribe_bind(
            WORKERS, QUEUE
        )
        signalled = asyncio.create_task(stop.wait())
        while not stop.is_set():
            try:
                (message,) = await queue.fetch(1, timeout=1)
            except TimeoutError:
                continue  # there was nothing to do
            delivery = message.metadata.num_delivered
            task = asyncio.ensure_future(
                handle(message.data.decode(), delivery)
            )
            await asyncio.wait(
                {task, signalled}, return_when="FIRST_COMPLETED"
            )
            await asyncio.wait({task}, timeout=GRACE)
            if task.done():
                task.result()  # raises what the handler raised
                await message.ack_sync()
            else:
                task.cancel()
                await message.nak()  # or others would wait for ACK_WAIT
        signalled.cancel()


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
