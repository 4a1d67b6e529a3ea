# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Message expiration on RabbitMQ: what is too late never arrives."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel

from rabbitmq_client import connect, open_consumer, publish, run, text

QUEUE = "push"

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    # A dead letter exchange would get what expired, with that reason.
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(
    channel: AbstractChannel, tasks: Sequence[str], seconds: float
) -> None:
    for task in tasks:
        # The client sends the seconds in milliseconds.
        await publish(channel, QUEUE, task.encode(), expiration=seconds)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = 0
    # Time runs at the broker alone: what was prefetched is delivered, however
    # long it then waits here. So one at a time.
    async with open_consumer(QUEUE, 1, worker) as (_, messages):
        async for message in messages:
            task = text(message)
            await handle(task)
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings another task.
            await message.ack()


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    async with connect() as channel:
        await declare(channel)
        await submit(channel, ["push: cat.mp4 is live"], seconds=60)
        await submit(channel, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(channel, ["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
