"""A pattern's snippet as a service runs it: what ends with an error is started again."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from tests.patterns.home import SNIPPETS, load, opened

#: Items a second that are sent, and seconds until what has failed is tried again.
PACE, AGAIN = 10, 0.5


class Service:
    """One snippet, unchanged: its producer, its workers, and what became of the work."""

    def __init__(self, pattern: str, broker: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self.module = load(SNIPPETS / "patterns" / pattern / f"on_{broker}.py")
        self.confirmed: list[Any] = []
        #: Each piece of work that a handler has done, and when; copies are there again.
        self.done: list[tuple[float, Any]] = []
        #: How often a worker, and how often the producer, has ended with an error.
        self.restarts = self.failures = 0
        #: What the producer's function raises for an item that is there already.
        self.there: tuple[type[Exception], ...] = ()
        self._running: list[asyncio.Task[None]] = []

    async def call(self, function: str, **arguments: Any) -> Any:
        """Call a function, and open first what it takes."""
        called = getattr(self.module, function)
        async with opened(called, arguments) as needs:
            return await called(*needs, **arguments)

    def keep(self, function: str, **arguments: Any) -> None:
        """Have a function run until the end of the trial."""
        self._running.append(asyncio.create_task(self._supervise(function, arguments)))

    async def _supervise(self, function: str, arguments: dict[str, Any]) -> None:
        while True:
            try:
                await self.call(function, **arguments)
            except Exception:
                self.restarts += 1
            else:
                raise AssertionError(f"{function} returned as if all were done")
            await asyncio.sleep(AGAIN)

    async def send(self, items: Sequence[Any], function: str, **arguments: Any) -> None:
        """Send one item after the other, and each until it is confirmed."""
        called = getattr(self.module, function)
        waiting = deque(items)
        while waiting:
            try:
                async with opened(called, {}) as needs:
                    while waiting:
                        with suppress(*self.there):
                            await called(*needs, [waiting[0]], **arguments)
                        self.confirmed.append(waiting.popleft())
                        await asyncio.sleep(1 / PACE)
            except Exception:
                self.failures += 1
                await asyncio.sleep(AGAIN)

    def note(self, what: Any) -> None:
        """Write down that a handler has done this now."""
        self.done.append((time.monotonic(), what))

    async def take(self, *what: Any) -> None:
        """Be a handler that does its work in a moment."""
        await asyncio.sleep(0.02)
        self.note(what[0])

    @property
    def counted(self) -> Counter[Any]:
        return Counter(what for _, what in self.done)

    def numbers(self) -> dict[str, float]:
        """Return what a sentence tells: of all that was confirmed, and of all that was done."""
        times = [at for at, _ in self.done]
        return {
            "confirmed": len(self.confirmed),
            "again": sum(self.counted.values()) - len(self.counted),
            "gap": round(max(later - sooner for sooner, later in pairwise(times)), 1),
            "restarts": self.restarts,
            "failures": self.failures,
        }

    async def end(self) -> None:
        """End what runs; raise if something had ended as if it were done."""
        for task in self._running:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
