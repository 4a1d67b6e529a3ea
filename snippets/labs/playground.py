# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""A playground: a producer, the minibroker and workers, in simulated time."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from math import inf
from random import Random
from typing import Any, NamedTuple

from minibroker import DEAD_LETTERS, Broker, Delivery, Event

SECONDS, OUTAGE = 60, 20  # seconds of a run; the second of the outage
RESTART, REFUSED = 1.0, 0.1  # seconds until it is back, or is refused


@dataclass(frozen=True)
class Settings:
    rate: float = 4.0  # tasks a second, at random times
    poison: float = 0.0  # share of them that no worker can do
    hot: float = 0.0  # share of one key; then each worker has its own queue
    ttl: float = 0.0  # seconds that a task may wait; 0 is for ever
    limit: int = 5  # attempts, and then it is a dead letter
    workers: int = 3
    prefetch: int = 1
    work: float = 0.5  # seconds for one task
    slow: float = 1.0  # worker A takes so many times as long
    failure: float = 0.0  # chance that an attempt fails
    outage: float = 0.0  # seconds in which every attempt fails
    crash: float = 0.0  # chance to die after the work, before its ack
    pause: float = 0.0  # seconds until the next attempt
    faults: Sequence[tuple[float, str]] = ()  # second, and what strikes


SITUATIONS = {
    "Poison message": Settings(poison=0.05, limit=20),
    "Slow consumer": Settings(slow=8, prefetch=20),
    "Retry storm": Settings(outage=10),
    "Hot key": Settings(hot=0.7),
    "Crash before acknowledging": Settings(crash=0.1),
}


class Sample(NamedTuple):  # at the end of a second
    waiting: int  # tasks that no worker has
    oldest: float  # age in seconds of the oldest that is not done
    attempts: int  # in this second
    twice: int  # tasks done more than once, so far
    dead: int  # dead letters, so far


class Clock:
    """Simulated seconds: the timers ring in order, and nobody waits."""

    def __init__(self) -> None:
        self.now, self.ids = 0.0, count()
        self.timers: list[tuple[float, int, Callable[..., object], Any]] = []

    def call_later(
        self, delay: float, call: Callable[..., object], *given: object
    ) -> None:
        timer = (self.now + delay, next(self.ids), call, given)
        heapq.heappush(self.timers, timer)

    def run(self, until: float) -> None:
        # The broker sets its timers on the loop that runs: on this clock.
        clock: Any = self
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(clock)
        try:
            while self.timers[0][0] <= until:
                self.now, _, call, given = heapq.heappop(self.timers)
                call(*given)
        finally:
            asyncio._set_running_loop(loop)


class Worker:
    def __init__(self, world: "World", name: str, queue: str) -> None:
        self.world, self.name, self.queue = world, name, queue
        self.slow = world.settings.slow if name == "A" else 1
        self.life = ExitStack()
        self.start()

    def die(self) -> None:
        self.life.close()  # What it holds goes back to the queue.
        self.world.clock.call_later(RESTART, self.start)
        self.busy = True

    def start(self) -> None:
        self.life.close()
        self.busy, prefetch = False, self.world.settings.prefetch
        take = self.world.broker.consume(self.queue, self.name, prefetch)
        self.inbox = self.life.enter_context(take).inbox

    def next(self) -> None:
        if not self.busy and not self.inbox.empty():
            self.busy = True
            refused, work = self.world.outage(), self.world.settings.work
            seconds = REFUSED if refused else work * self.slow
            task = self.inbox.get_nowait()
            self.world.clock.call_later(seconds, self.settle, task)

    def settle(self, delivery: Delivery) -> None:
        if delivery not in delivery.consumer.unacked:
            return  # It died in the middle of the work.
        if self.world.fails(delivery):
            self.retry(delivery)
        else:
            self.world.done[delivery.message.body] += 1
            if self.world.loses_ack():
                self.die()
                return
            delivery.ack()
        self.busy = False
        self.next()

    def retry(self, delivery: Delivery) -> None:
        settings, message = self.world.settings, delivery.message
        attempt = int(message.headers.get("attempt", "1"))
        if not settings.pause:
            delivery.nack()  # The broker counts the deliveries.
        elif attempt >= settings.limit:
            delivery.nack(requeue=False)
        else:
            headers = message.headers | {"attempt": str(attempt + 1)}
            wait = f"{self.queue}.wait"
            self.world.broker.publish(wait, message.body, inf, **headers)
            delivery.ack()


class World:
    def __init__(self, settings: Settings, seed: int = 7) -> None:
        self.settings, self.chance = settings, Random(seed)
        self.clock, self.numbers = Clock(), count(1)
        self.done: Counter[str] = Counter()
        self.attempts, self.next = 0, set[str]()
        self.broker = Broker(lambda: self.clock.now)
        names = "ABCDEFGHIJ"[: settings.workers]
        self.queues = ["transcode"] * len(names)
        if settings.hot:
            self.queues = [f"transcode.{name}" for name in names]
        for queue in self.queues:
            ttl = settings.ttl or inf
            self.broker.declare(queue, ttl, settings.limit)
            if settings.pause:
                wait = f"{queue}.wait"
                self.broker.declare(wait, settings.pause, dead_letters=queue)
        pairs = zip(names, self.queues, strict=True)
        self.workers = {name: Worker(self, name, of) for name, of in pairs}
        self.broker.observers.append(self.wake)
        self.clock.call_later(0, self.produce)
        for second, fault in settings.faults:
            self.clock.call_later(second, self.strike, fault)

    def produce(self) -> None:
        number, settings = next(self.numbers), self.settings
        hot = self.chance.random() < settings.hot
        key = 0 if hot else self.chance.randrange(100)
        headers = {"published": str(self.clock.now)}
        if self.chance.random() < settings.poison:
            headers["poison"] = "yes"
        queue = self.queues[key % len(self.queues)]
        for _ in range(2 if self.happens("twice") else 1):
            self.broker.publish(queue, f"video {number}", inf, **headers)
        gap = self.chance.expovariate(settings.rate)
        self.clock.call_later(gap, self.produce)

    def wake(self, event: Event) -> None:
        if event.kind in ("delivered", "redelivered"):
            self.clock.call_later(0, self.workers[event.client].next)

    def strike(self, fault: str) -> None:
        if fault == "kill":
            self.workers["A"].die()
        elif fault == "slower":
            self.workers["A"].slow = 10
        else:  # "lose" an acknowledgement, or publish "twice": the next one
            self.next.add(fault)

    def loses_ack(self) -> bool:
        crashes = self.chance.random() < self.settings.crash
        return self.happens("lose") or crashes

    def happens(self, fault: str) -> bool:
        once = fault in self.next
        self.next.discard(fault)
        return once

    def outage(self) -> bool:
        return OUTAGE <= self.clock.now < OUTAGE + self.settings.outage

    def fails(self, delivery: Delivery) -> bool:
        self.attempts += 1
        unlucky = self.chance.random() < self.settings.failure
        poison = "poison" in delivery.message.headers
        return unlucky or poison or self.outage()

    def sample(self) -> Sample:
        queues = dict(self.broker.queues)
        dead = len(queues.pop(DEAD_LETTERS).ready)
        ready = [task for queue in queues.values() for task in queue.ready]
        members = [each for q in queues.values() for each in q.consumers]
        held = [task for member in members for task in member.unacked]
        born = [float(t.message.headers["published"]) for t in ready + held]
        oldest = self.clock.now - min(born, default=self.clock.now)
        twice = sum(times > 1 for times in self.done.values())
        attempts, self.attempts = self.attempts, 0
        return Sample(len(ready), round(oldest, 1), attempts, twice, dead)


def run(settings: Settings) -> list[Sample]:
    world, samples = World(settings), []
    for second in range(1, SECONDS + 1):
        world.clock.run(second)
        samples.append(world.sample())
    return samples


def bars(values: list[float]) -> str:
    most, heights = max(values) or 1, " ▁▂▃▄▅▆▇█"
    return "".join(heights[round(8 * each / most)] for each in values)


def main() -> None:
    for name, settings in SITUATIONS.items():
        print(f"{name}: {SECONDS} s, a column a second, and the most")
        samples = run(settings)
        for number, label in enumerate(Sample._fields):
            series = [float(each[number]) for each in samples]
            print(f"{label:9}{bars(series):{SECONDS}}{max(series):6g}")


if __name__ == "__main__":
    main()
