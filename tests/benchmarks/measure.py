"""What every broker's benchmark shares: the ways to publish, the clock, and the rounds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from itertools import count as count_up
from typing import Any, TypeAlias

from tests.brokers import NotOursError, Server, make

BODY = b"x" * 1000
#: How many messages a batch has, and how many are in flight at most.
WINDOW = 50
ROUNDS = 11
SEED = 7
#: How often to ask a broker for its count, 0.02 s apart, until it has all.
PATIENCE = 1500

ONE_BY_ONE = "one by one"
BATCHES = f"batches of {WINDOW}"
IN_FLIGHT = f"{WINDOW} in flight"
NO_CONFIRM = "no confirm"

#: Each round gets a queue of its own.
_names = count_up()


@dataclass(frozen=True)
class Publisher:
    """One program that publishes to one empty queue."""

    #: Return how many messages the queue holds.
    stored: Callable[[], Awaitable[int]]
    #: Publish a message, return at its confirm. Calls with different numbers may overlap.
    confirmed: Callable[[int], Awaitable[object]] | None = None
    #: Publish that many messages, return at the last confirm. Without it, `confirmed` overlaps.
    batch: Callable[[int], Awaitable[object]] | None = None
    #: Hand a message over, and do not ask what becomes of it.
    unconfirmed: Callable[[], Awaitable[object]] | None = None
    #: Return when the broker has taken in what was handed over.
    arrived: Callable[[], Awaitable[object]] | None = None


#: From the server, the queue's name and how many calls overlap, to a publisher.
Open: TypeAlias = Callable[[Server, str, int], AbstractAsyncContextManager[Publisher]]


@dataclass(frozen=True)
class Setting:
    """One line of the record: what the broker does with a message, and how we publish."""

    kept: str
    way: str
    count: int
    open: Open
    #: Which of the benchmark's servers.
    server: str = "usual"
    #: Whether the broker has each message for certain once the publisher is done.
    certain: bool = True


@dataclass(frozen=True)
class Benchmark:
    """All settings of a broker. The first is the safest, one by one: the others' measure."""

    key: str
    settings: Sequence[Setting]
    #: What each server needs in its configuration, which is written and not yet read.
    servers: Mapping[str, Callable[[Server], None]] = field(
        default_factory=lambda: {"usual": lambda _: None}
    )

    @contextmanager
    def started(self) -> Iterator[dict[str, Server]]:
        """Start the servers that the settings need; end them and remove their data."""
        with ExitStack() as stack:
            running = {}
            for name, configure in self.servers.items():
                running[name] = make(self.key)
                stack.callback(running[name].close)
                if running[name].given:
                    raise NotOursError("the benchmark starts servers of its own: unset the address")
                configure(running[name])
                running[name].start()
            yield running


@dataclass(frozen=True)
class Round:
    """What one round of one setting showed."""

    sent: int
    stored: int
    rate: float
    #: From the call until the confirm; none where nobody confirms.
    milliseconds: tuple[float, ...]

    def percentile(self, percent: int) -> float | None:
        """Return the latency that so many percent of the messages did not exceed."""
        if not self.milliseconds:
            return None
        ordered = sorted(self.milliseconds)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


async def one_by_one(publisher: Publisher, count: int) -> list[float]:
    """Wait for each confirm before the next message."""
    assert publisher.confirmed
    return [await _timed(publisher.confirmed(0)) for _ in range(count)]


async def in_batches(publisher: Publisher, count: int) -> list[float]:
    """Publish a batch, wait until all of it is confirmed, then the next."""
    times: list[float] = []
    for start in range(0, count, WINDOW):
        size = min(WINDOW, count - start)
        times += [await _timed((publisher.batch or _overlapping(publisher))(size))] * size
    return times


def _overlapping(publisher: Publisher) -> Callable[[int], Awaitable[object]]:
    assert publisher.confirmed
    confirmed = publisher.confirmed

    async def batch(size: int) -> None:
        await asyncio.gather(*(confirmed(number) for number in range(size)))

    return batch


async def in_flight(publisher: Publisher, count: int) -> list[float]:
    """Keep the window full: each confirm lets the next message go."""
    assert publisher.confirmed
    confirmed, left = publisher.confirmed, iter(range(count))  # which all lanes share

    async def lane(number: int) -> list[float]:
        return [await _timed(confirmed(number)) for _ in left]

    return list(chain(*await asyncio.gather(*(lane(number) for number in range(WINDOW)))))


async def without_confirm(publisher: Publisher, count: int) -> list[float]:
    """Hand all messages over; the clock stops when the broker has taken in the last."""
    assert publisher.unconfirmed
    assert publisher.arrived
    for _ in range(count):
        await publisher.unconfirmed()
    await publisher.arrived()
    return []


WAYS = {
    ONE_BY_ONE: one_by_one,
    BATCHES: in_batches,
    IN_FLIGHT: in_flight,
    NO_CONFIRM: without_confirm,
}


async def _timed(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return (time.perf_counter() - start) * 1000


async def run(setting: Setting, server: Server, count: int) -> Round:
    """Publish `count` messages by the clock, after a tenth of them as a warm-up."""
    way, warm_up = WAYS[setting.way], count // 10
    lanes = WINDOW if way is in_flight else 1
    async with setting.open(server, f"cost-{next(_names)}", lanes) as publisher:
        await way(publisher, warm_up)
        start = time.perf_counter()
        times = await way(publisher, count)
        seconds = time.perf_counter() - start
        sent = warm_up + count
        stored = await counted(publisher.stored, sent if setting.certain else 0)
    return Round(sent, stored, count / seconds, tuple(times))


async def counted(stored: Callable[[], Awaitable[int]], expected: int) -> int:
    """Return what `stored` says, once it is `expected`: some brokers count a moment later."""
    count = await stored()
    for _ in range(PATIENCE):
        if count >= expected:
            break
        await asyncio.sleep(0.02)
        count = await stored()
    return count


def rounds(benchmark: Benchmark, running: Mapping[str, Server]) -> dict[Setting, list[Round]]:
    """Measure all settings, one round of all after the other, each round in another order.

    The first round is a warm-up: Java compiles, caches fill. It is not in the answer.
    """
    shuffle = random.Random(SEED).shuffle
    found: dict[Setting, list[Round]] = {setting: [] for setting in benchmark.settings}
    for number in range(ROUNDS + 1):
        order = list(benchmark.settings)
        shuffle(order)
        for setting in order:
            one = asyncio.run(run(setting, running[setting.server], setting.count))
            if setting.certain and one.stored != one.sent:
                raise AssertionError(f"{setting.kept}, {setting.way}: {one.stored} of {one.sent}")
            if number:
                found[setting].append(one)
    return found


def described(benchmark: Benchmark, found: Mapping[Setting, Sequence[Round]]) -> list[Any]:
    """Return the record of a broker's settings, three digits to each number."""
    return [
        {
            "kept": setting.kept,
            "way": setting.way,
            "count": setting.count,
            "rate": [_short(one.rate) for one in found[setting]],
            "p50_ms": [_short(one.percentile(50)) for one in found[setting]],
            "p99_ms": [_short(one.percentile(99)) for one in found[setting]],
        }
        for setting in benchmark.settings
    ]


def _short(number: float | None) -> float | None:
    if number is None:
        return None
    rounded = float(f"{number:.3g}")
    return int(rounded) if rounded >= 100 else rounded


#: What `Open` functions are before `asynccontextmanager`.
Publishers: TypeAlias = AsyncIterator[Publisher]
