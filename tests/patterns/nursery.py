"""A process that has imported the brokers' clients, and forks homes of actors.

To import a client takes longer than most claims take to prove. A fork has it at once, and is a
process like any other: SIGKILL is a crash.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

CLIENTS = ("aio_pika", "aiokafka", "nats", "paho.mqtt.client", "psycopg", "redis.asyncio")
#: On a busy machine it takes most of the time that an actor has to come back.
SLOW = ("fastapi",)
REQUEST_BYTES = 1 << 20


class Nursery:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=theirs.fileno(),
                cwd=Path(__file__).parents[2],
            )

    def fork(
        self, snippet: Path, environment: Mapping[str, str], standard: tuple[int, int, int]
    ) -> psutil.Process:
        """Start a home of the snippet's actors.

        Its standard input, output and error are the file descriptors in `standard`.
        """
        request = json.dumps({"snippet": str(snippet), "environment": dict(environment)})
        with self._one_at_a_time:
            socket.send_fds(self._socket, [request.encode()], standard)
            return psutil.Process(int(self._socket.recv(32)))


@cache
def nursery() -> Nursery:
    """Return this process's nursery, which ends when this process does."""
    return Nursery()


def main() -> None:
    """Fork a home for each request, until nobody is left to ask."""
    for name in (*CLIENTS, *SLOW):
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end in order, and their homes first
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Linux takes the dead away
    with socket.socket(fileno=sys.stdin.fileno()) as requests:
        while True:
            request, standard, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
            if not request:
                return
            if child := os.fork():
                for descriptor in standard:
                    os.close(descriptor)
                requests.send(str(child).encode())
            else:
                requests.detach()
                live(json.loads(request), standard)


def live(request: dict[str, Any], standard: list[int]) -> None:
    """Be a home to the end, in a process that was just forked."""
    from tests.patterns import home

    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.clear()
        os.environ.update(request["environment"])
        snippet = Path(request["snippet"])
        os.chdir(snippet.parent)
        asyncio.run(home.main(snippet))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
