# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Step 3, routing: the sender names what happened, bindings say who hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple


class Message(NamedTuple):
    id: int
    routing_key: str
    body: str


Queue = asyncio.PriorityQueue[tuple[Message, int]]  # It has its deliveries.


def matches(pattern: list[str], key: list[str]) -> bool:
    """Compare word by word: `*` is one word, `#` is zero or more."""
    if pattern[:1] == ["#"]:
        return any(matches(pattern[1:], key[n:]) for n in range(len(key) + 1))
    if not pattern or not key:
        return pattern == key
    return pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


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
        self.bindings: list[tuple[list[str], str]] = []

    def declare(self, name: str) -> None:
        """Make a queue, if it is not there; its name is its first binding."""
        if name not in self.queues:
            self.queues[name] = asyncio.PriorityQueue()
            self.bind(name, name)

    def bind(self, queue: str, pattern: str) -> None:
        """Give the queue a copy of what is published to a matching key."""
        self.bindings.append((pattern.split("."), queue))

    def publish(self, routing_key: str, body: str) -> list[str]:
        """Copy a message to each queue that has a matching binding."""
        message = Message(next(self.ids), routing_key, body)
        key = routing_key.split(".")
        names = dict.fromkeys(q for p, q in self.bindings if matches(p, key))
        for name in names:
            self.queues[name].put_nowait((message, 0))
        return list(names)

    @contextmanager
    def consume(self, queue: str) -> Iterator[Consumer]:
        consumer = Consumer(self.queues[queue])
        try:
            yield consumer
        finally:  # An exception comes here too, as a crash does.
            for delivery in list(consumer.unacked):
                delivery.nack()


async def main() -> None:
    broker = Broker()
    for queue, pattern in {
        "transcode": "video.uploaded",
        "search": "video.*",
        "audit": "video.#",
    }.items():
        broker.declare(queue)
        broker.bind(queue, pattern)
    for key in ("uploaded", "deleted", "transcoded.hd"):
        queues = broker.publish(f"video.{key}", "cat.mp4")
        print(f"video.{key} -> {', '.join(queues)}")
    print("comment.posted ->", broker.publish("comment.posted", "wow") or "-")
    with broker.consume("search") as search:
        async for delivery in search:
            print(f"search is done with {delivery.message.routing_key}")
            delivery.ack()
            break
    for name, waiting in broker.queues.items():
        print(f"{name}: {waiting.qsize()} waiting")


if __name__ == "__main__":
    asyncio.run(main())
