# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Step 1, a queue in memory: whoever takes a message has the only copy."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import NamedTuple


class Message(NamedTuple):
    id: int
    body: str


class Broker:
    def __init__(self) -> None:
        self.ids = count(1)
        self.queues: dict[str, asyncio.Queue[Message]] = {}

    def declare(self, name: str) -> None:
        """Make a queue, if it is not there."""
        self.queues.setdefault(name, asyncio.Queue())

    def publish(self, queue: str, body: str) -> None:
        self.queues[queue].put_nowait(Message(next(self.ids), body))

    async def consume(self, queue: str) -> AsyncIterator[Message]:
        while True:
            yield await self.queues[queue].get()  # The queue has lost it.


async def work(broker: Broker, worker: str, crash: bool = False) -> None:
    async for message in broker.consume("transcode"):
        print(f"{worker} takes {message.body}")
        if crash:
            raise RuntimeError(f"{worker} is gone")
        print(f"{worker} is done with {message.body}")


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
