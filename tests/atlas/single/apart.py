"""A worker in a process of its own, which kill -9 ends: it gets no chance to say anything."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from tests.brokers import Server
from tests.brokers.clients import SECONDS
from tests.conftest import end_with_parent

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["aio_pika", "aiokafka", "nats", "paho.mqtt.client", "psycopg", "redis", "tests.conftest"]
)
#: The worker says when it began to ask for what it then has in hand, and works without an end.
Tell = Callable[[float], None]
Work = Callable[[str, Tell], None]


@dataclass
class Worker:
    """One that has its messages. `asked` is the time before it got the first of them."""

    process: ForkServerProcess
    asked: float

    def kill(self) -> float:
        """End it by kill -9, and return when."""
        self.process.kill()
        self.process.join()
        return time.monotonic()


@contextmanager
def working(server: Server, work: Work) -> Iterator[Worker]:
    """Start a worker on that server's address; go on when it has told that it is at work."""
    hears, tells = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_work, args=(work, server.address, tells), daemon=True)
    process.start()
    tells.close()
    try:
        assert hears.poll(SECONDS), "the worker takes nothing"
        yield Worker(process, hears.recv())
    finally:
        process.kill()
        process.join()
        hears.close()


def _work(work: Work, address: str, tells: Connection) -> None:
    end_with_parent()
    work(address, tells.send)
