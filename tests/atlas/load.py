"""A producer that publishes numbered messages at a steady pace, each once, and keeps a history.

It does what a service should: it has a time limit for each call, leaves a connection that has not
answered or is of no use, and tries the next server then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from tests.atlas.history import CONFIRMED, REFUSED, UNKNOWN, Call, Event, History

#: Messages a second, and how many may wait for their confirm at once.
PACE, IN_FLIGHT = 50, 32
#: How long a call may take, and opening a connection, in seconds.
CALL_SECONDS, CONNECT_SECONDS = 5.0, 3.0
#: So long no connection is tried after one that failed.
PAUSE = 0.25


class RefusedError(Exception):
    """The broker has not taken the message, for certain: it said so, or it never got it."""


class UselessError(RefusedError):
    """Likewise, and the next server may do better: this connection is left."""


class Connection(Protocol):
    """A producer's connection to a broker."""

    async def publish(self, message: int) -> None:
        """Return when the broker has confirmed. Any error but `RefusedError` means: unknown."""

    async def close(self) -> None:
        """Close it, whatever became of it."""


#: Opens a connection to the server on a machine.
Connect = Callable[[int], Awaitable[Connection]]


class Producer:
    """One connection at a time, to the first server in `order` that lets itself be used."""

    def __init__(self, connect: Connect, order: Sequence[int], *, stays: bool = False) -> None:
        """Have no connection yet. A client that finds its way by itself `stays` after silence."""
        self._connect, self._order, self._stays = connect, list(order), stays
        self._connection: Connection | None = None
        self._not_before = 0.0
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def publish(self, message: int) -> None:
        connection = await self._connected()
        try:
            await asyncio.wait_for(connection.publish(message), CALL_SECONDS)
        except UselessError:
            self._leave(connection)
            raise
        except RefusedError:
            raise
        except Exception:
            if not self._stays:
                self._leave(connection)
            raise

    async def open(self) -> None:
        """Connect to the first server in the order."""
        self._connection = await self._connect(self._order[0])

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                if time.monotonic() < self._not_before:
                    raise RefusedError("not connected")
                try:
                    self._connection = await asyncio.wait_for(
                        self._connect(self._order[0]), CONNECT_SECONDS
                    )
                except Exception as error:
                    self._try_next()
                    raise RefusedError(f"not connected: {type(error).__name__}") from error
            return self._connection

    def _leave(self, connection: Connection) -> None:
        """Use another connection from now on. Calls that wait on this one may still be answered."""
        if connection is self._connection:
            self._connection = None
            self._try_next()
            closing = asyncio.create_task(self._close(connection))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _try_next(self) -> None:
        self._order.append(self._order.pop(0))
        self._not_before = time.monotonic() + PAUSE

    @staticmethod
    async def _close(connection: Connection) -> None:
        with suppress(Exception):
            await asyncio.wait_for(connection.close(), CALL_SECONDS)

    async def close(self) -> None:
        if self._connection:
            await self._close(self._connection)
        await asyncio.gather(*self._closing)


class Load:
    """Publishes from `run` on until the history is `enough`, or until the time is over."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.history = History()
        self._began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._began

    def note(self, what: str) -> None:
        """Write down that something is done to the cluster now."""
        self.history.events.append(Event(self.now(), what))

    def confirmed_since(self, moment: float) -> int:
        """Count the confirmed messages that were sent after a moment."""
        return sum(c.began > moment and c.outcome == CONFIRMED for c in self.history.calls)

    async def run(self, enough: Callable[[], bool]) -> None:
        self._began = time.monotonic()
        window = asyncio.Semaphore(IN_FLIGHT)
        running: set[asyncio.Task[None]] = set()
        while not enough():
            await window.acquire()
            call = Call(len(self.history.calls), self.now())
            self.history.calls.append(call)
            task = asyncio.create_task(self._publish(call))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: window.release())
            await asyncio.sleep(1 / PACE)
        await asyncio.gather(*running)
        self.history.ended = self.now()

    async def _publish(self, call: Call) -> None:
        try:
            await self.producer.publish(call.message)
        except RefusedError as error:
            call.outcome, call.why = REFUSED, str(error)[:80]
        except TimeoutError:
            call.outcome, call.why = UNKNOWN, f"no answer in {CALL_SECONDS:g} s"
        except Exception as error:  # whatever a client raises
            call.outcome, call.why = UNKNOWN, f"{type(error).__name__}: {error}"[:80]
        else:
            call.outcome = CONFIRMED
        call.ended = self.now()
