# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Retries that end: back-off with jitter, a budget, a circuit breaker."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field


class PassingError(Exception):
    """What another attempt may help: a time-out, a refusal, a 503."""


def delays(
    attempts: int, base: float, longest: float, chance: random.Random
) -> Iterator[float]:
    """Yield the pause before each attempt after the first: full jitter."""
    for attempt in range(attempts - 1):
        yield chance.uniform(0, min(longest, base * 2**attempt))


@dataclass
class Budget:
    """One retry for each ten calls, and a few to begin with."""

    tokens: float = 3
    most: float = 10

    def called(self) -> None:
        self.tokens = min(self.most, self.tokens + 0.1)

    def allows(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Breaker:
    """After `limit` failures in a row nobody is called for `pause` seconds."""

    clock: Callable[[], float]
    limit: int = 3
    pause: float = 30
    failures: int = field(default=0, init=False)
    open_until: float = field(default=0, init=False)

    def allows(self) -> bool:
        return self.failures < self.limit or self.clock() >= self.open_until

    def saw(self, *, good: bool) -> None:
        self.failures = 0 if good else self.failures + 1
        self.open_until = self.clock() + self.pause


async def call(
    work: Callable[[], Awaitable[None]],
    pauses: Iterator[float],
    budget: Budget,
    breaker: Breaker,
    seconds: float,
) -> str:
    budget.called()
    while breaker.allows():
        try:
            async with asyncio.timeout(seconds):  # Every call ends.
                await work()
        except (PassingError, TimeoutError):
            breaker.saw(good=False)
            if (pause := next(pauses, None)) is None:
                return "gave up: no attempt left"
            if not budget.allows():
                return "gave up: no budget left"
            await asyncio.sleep(pause)
        else:
            breaker.saw(good=True)
            return "done"
    return "not called: the breaker is open"


async def main() -> None:
    chance = random.Random(7)  # With this seed it prints the same.
    for longest in (4, 60):
        pauses = delays(8, base=0.5, longest=longest, chance=chance)
        print(f"at most {longest} s:", *(f"{pause:.1f}" for pause in pauses))

    attempts = 0

    async def thumbnail() -> None:
        nonlocal attempts
        attempts += 1
        raise PassingError("503")

    now = 0.0
    budget, breaker = Budget(), Breaker(clock=lambda: now, limit=5)
    for _ in range(4):
        pauses = delays(3, base=0.01, longest=0.02, chance=chance)
        print(await call(thumbnail, pauses, budget, breaker, seconds=1))
    print("attempts:", attempts)
    now = 31
    print(await call(thumbnail, iter(()), budget, breaker, seconds=1))
    print("attempts:", attempts)


if __name__ == "__main__":
    asyncio.run(main())
