"""What every cluster can do, and what each broker's says of itself."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, TypeVar

from tests.brokers.cluster.machines import Machine

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], what: str, seconds: float = 240) -> T:
    """Ask again and again until the answer is true; an exception counts as not yet."""
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if found := await asyncio.wait_for(condition(), 10):
                return found
        except Exception as error:
            last = error
        await asyncio.sleep(0.1)
    raise TimeoutError(f"waited {seconds:g} s for {what}; the last error: {last!r}")


class Cluster(ABC):
    """Servers of one broker on three machines, on the broker's usual ports."""

    key: ClassVar[str]

    def __init__(self, machines: Mapping[int, Machine]) -> None:
        self.machines = machines

    @abstractmethod
    async def start(self) -> None:
        """Configure the servers, start them, and return when the cluster takes work."""

    @abstractmethod
    async def whole(self) -> None:
        """Return when all servers are in the cluster, and all replicas are in step."""

    @abstractmethod
    async def leader(self, queue: str) -> int:
        """Return the number of the machine that leads a queue, stream or topic."""

    @abstractmethod
    async def replace(self, number: int) -> None:
        """Put an empty server where one was lost with its disk, as its operator does."""

    @abstractmethod
    async def version(self) -> str:
        """Return what the servers say that they are, such as `NATS 2.15.3`."""

    def logs(self) -> str:
        """Return the ends of the servers' logs, for an error."""
        return "\n".join(
            f"-- {program.log.name}\n{program.tail()}"
            for machine in self.machines.values()
            for program in machine.programs
        )
