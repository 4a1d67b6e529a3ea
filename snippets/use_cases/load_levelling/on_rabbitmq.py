# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Load levelling on RabbitMQ: a burst waits, and the pool keeps its pace."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence

from aio_pika import DeliveryMode, Message, connect
from aio_pika.exceptions import DeliveryError

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE, DEAD = "transcode-burst", "transcode-burst.dead"
WORKERS = 3  # what we pay for, all day
SECONDS_PER_VIDEO = 60
PROMISE = 300  # seconds until the last accepted video is begun
ROOM = PROMISE * WORKERS // SECONDS_PER_VIDEO


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.declare_queue(
            DEAD, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await channel.declare_queue(
            QUEUE,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-max-length": ROOM,
                "x-overflow": "reject-publish",  # default: drops the oldest
                # What has failed 21 times; without these two, it is gone.
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": DEAD,
            },
        )


async def upload(videos: Sequence[str]) -> list[str]:
    """Hand over what there is room for; return the others, to come later."""
    refused = []
    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        for video in videos:
            task = Message(
                video.encode(), delivery_mode=DeliveryMode.PERSISTENT
            )
            try:
                await channel.default_exchange.publish(
                    task, routing_key=QUEUE, mandatory=True
                )
            except DeliveryError:  # the queue is full: 503, Retry-After
                refused.append(video)
    return refused


class Pool:
    """Workers that are never more, however long the queue is."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.minutes = 0
        self.minute = asyncio.Barrier(WORKERS)  # ends when all are at work

    async def work(self, limit: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self.worker(limit // WORKERS))

    async def worker(self, limit: int) -> None:
        async with await connect(URL) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)  # the rest stays behind
            queue = await channel.get_queue(QUEUE)
            async with queue.iterator() as messages:
                async for message in messages:
                    await self.transcode(message.body.decode())
                    limit -= 1
                    if not limit:
                        await messages.close()  # or the ack brings another
                    await message.ack()

    async def transcode(self, video: str) -> None:
        if await self.minute.wait() == 0:  # here, the work
            self.minutes += 1
        self.done[video] += 1


async def main() -> None:
    await declare()
    burst = [f"{number}.mp4" for number in range(24)]
    pool = Pool()
    print(f"room for {ROOM}: each waits {PROMISE} s at most")
    late = await upload(burst)
    print(f"burst of {len(burst)}: {len(burst) - len(late)} accepted,")
    print(f"  {len(late)} told to come back, {pool.done.total()} done")
    for part in (12, 12):
        await pool.work(limit=part)
        print(f"minute {pool.minutes}: {pool.done.total()} done")
        late = await upload(late)
        print(f"  {len(late)} told to come back")
    print("each done once:", pool.done == Counter(burst))


if __name__ == "__main__":
    asyncio.run(main())
