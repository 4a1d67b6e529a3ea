# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Load levelling on RabbitMQ: a burst waits, and the pool keeps its pace."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

from rabbitmq_client import (
    connect,
    dead_letters_to,
    declare_queue,
    open_consumer,
    publish,
    run,
)

QUEUE, DEAD = "transcode-burst", "transcode-burst.dead"
WORKERS = 3  # what we pay for, all day
SECONDS_PER_VIDEO = 60
PROMISE = 300  # seconds until the last accepted video is begun
ROOM = PROMISE * WORKERS // SECONDS_PER_VIDEO


async def declare(channel: AbstractChannel) -> None:
    # No limit for the dead: 4.0 would drop what was looked at 22 times.
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    # What has failed 21 times is a dead letter; else it would be gone. With
    # these arguments, a full queue refuses: by default it drops the oldest.
    full = {"x-max-length": ROOM, **dead_letters_to(DEAD)}
    await declare_queue(channel, QUEUE, full)


async def upload(channel: AbstractChannel, videos: Sequence[str]) -> list[str]:
    """Hand over what there is room for; return the others, to come later."""
    refused = []
    for video in videos:
        try:
            await publish(channel, QUEUE, video.encode())
        except PublishError:
            raise  # It came back: there is no such queue.
        except DeliveryError:  # The queue is full: reply 503, Retry-After.
            refused.append(video)
    return refused


class Pool:
    """Workers that are never more, however long the queue is."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.minutes = 0
        self.minute = asyncio.Barrier(WORKERS)  # It ends when all are at work.

    async def work(self, limit: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self.worker(limit // WORKERS))

    async def worker(self, limit: int) -> None:
        # It holds one; the rest stays behind.
        async with open_consumer(QUEUE) as (_, messages):
            async for message in messages:
                await self.transcode(message.body.decode())
                limit -= 1
                if not limit:
                    await messages.close()  # Else the ack brings another.
                await message.ack()

    async def transcode(self, video: str) -> None:
        if await self.minute.wait() == 0:  # The work stands here.
            self.minutes += 1
        self.done[video] += 1


async def main() -> None:
    burst = [f"{number}.mp4" for number in range(24)]
    pool = Pool()
    print(f"room for {ROOM}: each waits {PROMISE} s at most")
    async with connect() as channel:
        await declare(channel)
        late = await upload(channel, burst)
        print(f"burst of {len(burst)}: {len(burst) - len(late)} accepted,")
        print(f"  {len(late)} told to come back, {pool.done.total()} done")
        for part in (12, 12):
            await pool.work(limit=part)
            print(f"minute {pool.minutes}: {pool.done.total()} done")
            late = await upload(channel, late)
            print(f"  {len(late)} told to come back")
    print("each done once:", pool.done == Counter(burst))


if __name__ == "__main__":
    run(main)
