"""A message broker in one file: queues, topics, dead letters and a log.

It lives in your process, and all it holds dies with it. A message leaves a
queue in two ways: a consumer acknowledges it, or it becomes a dead letter.
The broker never waits in the middle of a change, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from typing import NamedTuple

DEAD_LETTERS = "dead-letters"  # the dead-letter queue that is always there


class BrokerError(Exception):
    """The broker cannot do what it was asked; the text says why."""


class Message(NamedTuple):
    id: int  # in a log: its offset
    routing_key: str
    body: str
    headers: dict[str, str]


class Event(NamedTuple):  # one thing that happened, told to every observer
    kind: str  # "published", "routed", "delivered", "acknowledged", ...
    place: str  # the routing key, the queue or the log
    client: str  # the consumer, or the log's group, if one took part
    message: Message
    number: int = 0  # of the delivery: 1 is the first
    reason: str = ""


def matches(pattern: list[str], key: list[str]) -> bool:
    """Compare word by word: `*` is one word, `#` is zero or more."""
    if pattern[:1] == ["#"]:
        return any(matches(pattern[1:], key[n:]) for n in range(len(key) + 1))
    if not pattern or not key:
        return pattern == key
    return pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


@dataclass(frozen=True, eq=False)
class Delivery:
    """A message that waits in a queue, or that a consumer holds."""

    message: Message
    position: int
    expires: float
    consumer: Consumer
    number: int = 0  # 1 is the first delivery; more: somebody had it before

    def ack(self) -> None:
        """The work is done: the broker forgets the message."""
        self.consumer.queue.settle(self, "acknowledged")

    def nack(self, requeue: bool = True) -> None:
        """The work failed: try again, or leave it to the dead letters."""
        self.consumer.queue.settle(self, "requeued" if requeue else "rejected")


class Consumer:  # It holds at most `prefetch` unacknowledged deliveries.
    def __init__(self, queue: Queue, name: str, prefetch: int) -> None:
        self.queue, self.name, self.prefetch = queue, name, prefetch
        self.unacked: list[Delivery] = []
        self.inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            await asyncio.sleep(0)  # a busy consumer must let the others run
            yield await self.inbox.get()


@dataclass(eq=False)
class Queue:
    """Messages in order, and the consumers that take turns."""

    broker: Broker
    name: str
    ttl: float
    delivery_limit: int
    dead_letters: str
    ready: list[Delivery] = field(default_factory=list)  # oldest first
    consumers: list[Consumer] = field(default_factory=list)  # next one first

    def put(self, message: Message, ttl: float = inf) -> None:
        if (ttl := min(ttl, self.ttl)) < inf:  # 2 ms: browsers ring too early
            asyncio.get_running_loop().call_later(ttl + 0.002, self.dispatch)
        position, expires = next(self.broker.ids), self.broker.clock() + ttl
        nobody = Consumer(self, "", prefetch=0)
        self.ready.append(Delivery(message, position, expires, nobody))
        self.tell("routed", self.ready[-1])
        self.dispatch()

    def dispatch(self) -> None:
        """Hand over what is ready, to each consumer up to its prefetch."""
        while self.ready:
            # Only the oldest is looked at, as on RabbitMQ: the rest can wait.
            if self.ready[0].expires <= self.broker.clock():
                self.tell("expired", self.ready[0])
                self.dead_letter(self.ready.pop(0), "expired")
                continue
            free = [c for c in self.consumers if len(c.unacked) < c.prefetch]
            if not free:
                return
            self.consumers.remove(consumer := free[0])  # its turn is over:
            self.consumers.append(consumer)  # the others come first now
            old = self.ready.pop(0)
            new = replace(old, consumer=consumer, number=old.number + 1)
            consumer.unacked.append(new)
            consumer.inbox.put_nowait(new)
            self.tell("redelivered" if old.number else "delivered", new)

    def settle(self, delivery: Delivery, outcome: str, why: str = "") -> None:
        if delivery not in delivery.consumer.unacked:
            raise BrokerError(f"settled once already: {delivery.message}")
        delivery.consumer.unacked.remove(delivery)
        if outcome == "rejected":
            self.dead_letter(delivery, "rejected")
        elif outcome == "requeued" and delivery.number >= self.delivery_limit:
            self.dead_letter(delivery, "delivery-limit")
        else:
            if outcome == "requeued":  # It gets its old place back.
                insort(self.ready, delivery, key=lambda d: d.position)
            self.tell(outcome, delivery, why)
        self.dispatch()

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        self.tell("dead-lettered", delivery, reason)
        message, queues = delivery.message, self.broker.queues
        death = {"death_reason": reason, "death_queue": self.name}
        target = queues.get(self.dead_letters) or queues[DEAD_LETTERS]
        target.put(message._replace(headers=message.headers | death))

    def tell(self, kind: str, about: Delivery, reason: str = "") -> None:
        who, what, number = about.consumer.name, about.message, about.number
        self.broker.tell(Event(kind, self.name, who, what, number, reason))


class Broker:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.ids = clock, count(1)
        self.queues: dict[str, Queue] = {}
        self.bindings: list[tuple[list[str], Queue]] = []
        self.logs: defaultdict[str, list[Message]] = defaultdict(list)
        self.committed: dict[tuple[str, str], int] = {}
        self.readers: dict[tuple[str, str], object] = {}  # one a group
        self.waiting: list[asyncio.Event] = []  # readers at the end of a log
        self.observers: list[Callable[[Event], None]] = []
        self.declare(DEAD_LETTERS)

    def tell(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    def declare(
        self,
        name: str,
        ttl: float = inf,
        delivery_limit: int = 20,
        dead_letters: str = DEAD_LETTERS,
    ) -> None:
        """Make a queue, if it is not there; its name is its first binding."""
        if ttl <= 0 or delivery_limit < 1:
            raise BrokerError("ttl and delivery_limit must be more than 0")
        if name not in self.queues:
            queue = Queue(self, name, ttl, delivery_limit, dead_letters)
            self.queues[name] = queue
            self.bind(name, name)

    def bind(self, queue: str, pattern: str) -> None:
        """Give the queue a copy of what is published to a matching key."""
        words = pattern.split(".") if pattern else []
        self.bindings.append((words, self.find(queue)))

    def find(self, queue: str) -> Queue:
        if queue not in self.queues:
            raise BrokerError(f"no queue {queue!r} in {list(self.queues)}")
        return self.queues[queue]

    def publish(
        self, routing_key: str, body: str, ttl: float = inf, **headers: str
    ) -> list[str]:
        """Copy a message to each queue that has a matching binding."""
        message = Message(next(self.ids), routing_key, body, headers)
        self.tell(Event("published", routing_key, "", message))
        key = routing_key.split(".") if routing_key else []
        queues = {q.name: q for p, q in self.bindings if matches(p, key)}
        for queue in queues.values():
            queue.put(message, ttl)
        if not queues:
            self.tell(Event("unroutable", routing_key, "", message))
        return list(queues)  # the confirm: these hold the message, in memory

    @contextmanager
    def consume(
        self, queue: str, consumer: str = "consumer", prefetch: int = 1
    ) -> Iterator[Consumer]:
        """Take turns at a queue; on leaving, give back what is held."""
        if prefetch < 1:
            raise BrokerError(f"prefetch must be 1 or more, not {prefetch}")
        source = self.find(queue)
        source.consumers.append(member := Consumer(source, consumer, prefetch))
        source.dispatch()
        try:
            yield member
        finally:  # This also runs when the task is cancelled.
            source.consumers.remove(member)
            for delivery in list(member.unacked):
                source.settle(delivery, "requeued", "consumer gone")

    def append(self, log: str, body: str, **headers: str) -> int:
        """Write a record at the end of a log; return its offset."""
        record = Message(len(self.logs[log]), log, body, headers)
        self.logs[log].append(record)
        self.tell(Event("appended", log, "", record))
        while self.waiting:
            self.waiting.pop().set()
        return record.id

    async def read(
        self, log: str, group: str, offset: int = -1
    ) -> AsyncIterator[Message]:
        """Read on from what the group committed; offset 0 replays it all."""
        if offset < 0:
            offset = self.committed.get((log, group), 0)
        self.readers[log, group] = me = object()
        while self.readers[log, group] is me:  # A newer one ends this.
            if offset < len(self.logs[log]):
                record, offset = self.logs[log][offset], offset + 1
                self.tell(Event("read", log, group, record))
                yield record
            else:
                self.waiting.append(wake := asyncio.Event())
                await wake.wait()

    def commit(self, log: str, group: str, record: Message) -> None:
        """The group has worked off every record up to this one."""
        self.committed[log, group] = record.id + 1
        self.tell(Event("committed", log, group, record))
