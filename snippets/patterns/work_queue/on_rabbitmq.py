# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Work queue on RabbitMQ: each task goes to one worker, crash or no."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel

from rabbitmq_client import connect, open_consumer, publish, run, text

QUEUE = "transcode"
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    # Only a quorum queue counts deliveries. RabbitMQ 4 drops a task when
    # its 21st has failed, unless the queue has a dead letter exchange.
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )


async def submit(channel: AbstractChannel, tasks: Sequence[str]) -> None:
    for task in tasks:
        await publish(channel, QUEUE, task.encode())  # It awaits the confirm.


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    done = 0
    async with open_consumer(QUEUE, prefetch, worker) as (_, messages):
        async for message in messages:
            # From the second delivery on the server's count is here; in the
            # first one, a publisher may have written anything.
            told = message.headers.get("x-delivery-count")
            failed = told if isinstance(told, int) else 0
            task = text(message)
            await handle(task, failed + 1)
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings another task.
            await message.ack()


async def main() -> None:
    async with connect() as channel:
        await declare(channel)
        await submit(channel, TASKS)
    print(f"confirmed {len(TASKS)} tasks")
    seen: list[str] = []

    async def note(task: str, delivery: int | None) -> None:
        seen.append(f"{task}: delivery {delivery}")
        if len(seen) == 1:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")
    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    print(*sorted(seen[1:]), sep="\n")


if __name__ == "__main__":
    run(main)
