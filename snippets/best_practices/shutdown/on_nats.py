# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Shutdown on NATS JetStream: finish, or hand the task over at once."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.js import JetStreamContext

import nats_client
from nats_client import SECONDS, connect, renewed, run

QUEUE, WORKERS = "transcode", "workers"
ACK_WAIT = 60.0  # seconds until a crashed worker's task goes to another
GRACE = 25.0  # seconds; Kubernetes sends SIGKILL after 30

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await nats_client.declare_queue(jetstream, QUEUE, WORKERS, ACK_WAIT)


async def submit(jetstream: JetStreamContext, tasks: Sequence[str]) -> None:
    await declare(jetstream)
    for task in tasks:
        await jetstream.publish(QUEUE, task.encode())


async def work(handle: Handler) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with connect() as jetstream:
        queue = await jetstream.pull_subscribe_bind(WORKERS, QUEUE)
        while not stop.is_set():
            try:
                (message,) = await queue.fetch(1, timeout=1)
            except TimeoutError:
                continue  # There was nothing to do.
            async with renewed([message], ACK_WAIT):
                await _finish(message, handle, stop)


async def _finish(message: Msg, handle: Handler, stop: asyncio.Event) -> None:
    body = message.data.decode(errors="surrogateescape")
    delivery = message.metadata.num_delivered
    task = asyncio.ensure_future(handle(body, delivery))
    signalled = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, signalled}, return_when="FIRST_COMPLETED")
        await asyncio.wait({task}, timeout=GRACE)
        if task.done():
            task.result()  # It raises what the handler raised.
            await message.ack_sync(SECONDS)
            return
    finally:
        signalled.cancel()
        task.cancel()
    await asyncio.wait({task})
    # What it does in a thread goes on: nobody else may begin before its end.
    # If SIGKILL comes first, the task goes to another after ACK_WAIT.
    await asyncio.get_running_loop().shutdown_default_executor()
    await message.nak()  # Else others would wait for ACK_WAIT.


async def main() -> None:
    async with connect() as jetstream:
        await submit(jetstream, ["transcode cat.mp4", "transcode dog.mp4"])

    async def handle(task: str, delivery: int | None) -> None:
        print(f"{task}: delivery {delivery}")
        os.kill(os.getpid(), signal.SIGTERM)  # An orchestrator does this.
        await asyncio.sleep(0.1)
        print(f"{task}: done, in spite of SIGTERM")

    await work(handle)
    print("the worker has left; the next one finds")
    await work(handle)


if __name__ == "__main__":
    run(main)
