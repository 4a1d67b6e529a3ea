# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Step 2, acknowledgement: a message is kept until somebody is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple


class Message(NamedTuple):
    id: int
    body: str


Queue = asyncio.PriorityQueue[tuple[Message, int]]  # It has its deliveries.


@dataclass(frozen=True, eq=False)
class Delivery:
    """A message that a consumer holds."""

    message: Message
    number: int  # 1 is the first delivery
    consumer: Consumer

    def ack(self) -> None:
        """The work is done: the broker forgets the message."""
        self.consumer.unacked.remove(self)

    def nack(self) -> None:
        """The work failed: back to its old place, as the lowest id leads."""
        self.consumer.unacked.remove(self)
        self.consumer.queue.put_nowait((self.message, self.number))


class Consumer:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.unacked: list[Delivery] = []

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            message, number = await self.queue.get()
            self.unacked.append(Delivery(message, number + 1, self))
            yield self.unacked[-1]


class Broker:
    def __init__(self) -> None:
        self.ids = count(1)
        self.queues: dict[str, Queue] = {}

    def declare(self, name: str) -> None:
        """Make a queue, if it is not there."""
        self.queues.setdefault(name, asyncio.PriorityQueue())

    def publish(self, queue: str, body: str) -> None:
        message = Message(next(self.ids), body)
        self.queues[queue].put_nowait((message, 0))

    @contextmanager
    def consume(self, queue: str) -> Iterator[Consumer]:
        consumer = Consumer(self.queues[queue])
        try:
            yield consumer
        finally:  # An exception comes here too, as a crash does.
            for delivery in list(consumer.unacked):
                delivery.nack()


async def work(broker: Broker, worker: str, crash: bool = False) -> None:
    with broker.consume("transcode") as consumer:
        async for delivery in consumer:
            video, number = delivery.message.body, delivery.number
            print(f"{worker} takes {video}, delivery {number}")
            if crash:
                raise RuntimeError(f"{worker} is gone")
            print(f"{worker} is done with {video}")
            delivery.ack()


async def main() -> None:
    broker = Broker()
    broker.declare("transcode")
    for video in ("cat.mp4", "dog.mp4", "owl.mp4"):
        broker.publish("transcode", video)
    print("published 3, nobody was there")
    try:
        await work(broker, "A", crash=True)
    except RuntimeError as error:
        print(error)
    try:
        await asyncio.wait_for(work(broker, "B"), timeout=0.2)
    except TimeoutError:
        print("B waits: the queue is empty")


if __name__ == "__main__":
    asyncio.run(main())
