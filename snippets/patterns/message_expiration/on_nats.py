# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Message expiration on NATS JetStream: the worker skips what is too late."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import nats
from nats.aio.msg import Msg
from nats.js.api import RetentionPolicy, StorageType

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
QUEUE, WORKERS = "push", "workers"
ACK_WAIT = 2.0  # seconds until a silent worker's task goes on; usual: 30

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    # The client would try for 2 minutes before it says that it can't.
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(
            name=QUEUE,
            subjects=[QUEUE],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            # Of each message alike, and a bound to what is kept. A time for
            # each message by itself came with the server 2.11.
            max_age=24 * 3600,
        )
        await jetstream.add_consumer(
            QUEUE, durable_name=WORKERS, ack_wait=ACK_WAIT
        )


async def submit(tasks: Sequence[str], seconds: float) -> None:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        ttl = {"TTL": str(seconds)}
        for task in tasks:
            await jetstream.publish(QUEUE, task.encode(), headers=ttl)


def too_late(message: Msg) -> bool:
    age = datetime.now(UTC) - message.metadata.timestamp  # the server's
    try:
        return age.total_seconds() > float((message.headers or {})["TTL"])
    except (KeyError, ValueError):
        return False  # no time, or none that we can read: rather deliver it


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with await nats.connect(URL, name=worker) as connection:
        queue = await connection.jetstream().pull_subscribe_bind(
            WORKERS, QUEUE
        )
        done = 0
        while done != limit:
            try:
                [message] = await queue.fetch(1, timeout=1)
            except TimeoutError:
                continue  # there was nothing to do
            renewal = asyncio.create_task(renew(message))
            try:
                if not too_late(message):
                    # Any bytes: a bad task must not stop the worker.
                    task = message.data.decode(errors="surrogateescape")
                    await handle(task)
                    done += 1
                await message.ack_sync()
            finally:
                renewal.cancel()


async def renew(message: Msg) -> None:
    """Tell the server that this worker lives, however long a task takes."""
    while True:
        await asyncio.sleep(ACK_WAIT / 4)
        await message.in_progress()


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    await submit(["push: cat.mp4 is live"], seconds=60)
    await submit(["push: dog.mp4 starts now"], seconds=1)
    print("no worker for two seconds")
    await asyncio.sleep(2)
    await submit(["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    asyncio.run(main())
