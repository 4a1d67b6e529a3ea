"""A real broker as a child process: start, stop, kill -9, freeze, restart on the same data."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, TypeVar
from urllib.parse import urlsplit

import psutil
from mirakuru.base import Executor
from mirakuru.exceptions import ProcessExitedWithError, TimeoutExpired

from handbook.brokers import Broker, named
from tests.brokers import debian
from tests.brokers.generations import NEWEST, Generation

START_SECONDS = 90
STOP_SECONDS = 90
RUN = debian.RUN
Kind = TypeVar("Kind", bound="Server")


class NotFoundError(Exception):
    """No server of this kind can be had here; the text says why and what to do."""


class NotOursError(Exception):
    """The server was given by its address, so the tests may not stop or kill it."""


@dataclass(frozen=True)
class Source:
    """Where a server comes from: the command line of each of its programs."""

    name: str
    command: Callable[..., list[str]]
    #: Which generation of the project's own folders it is.
    generation: Generation | None = None


def from_folder(of: Generation) -> Source:
    """Return the project's own folder of this generation."""
    return Source(f"folder, {of.name}", functools.partial(debian.command, of=of), of)


DEBIAN = from_folder(debian.CHOSEN)
MACHINE = Source("this machine", debian.on_this_machine)
ADDRESS = Source("given by address", debian.on_this_machine)


def work_root(place: Path = debian.SHARED) -> Path:
    """Return this run's folder for servers' data, and remove those of runs that are dead."""
    for old in place.glob("handbook-*"):
        owner = old.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    # The processes of a parallel run share the folder of the one that began it.
    owner = os.environ.setdefault(RUN, str(os.getpid()))
    root = place / f"handbook-{owner}"
    root.mkdir(mode=0o700, exist_ok=True)
    if owner == str(os.getpid()):
        atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


#: The ports of this process. The byte at each one's place in a file is locked for the others.
_taken: set[int] = set()
_taking = threading.Lock()


@functools.cache
def _ports() -> IO[str]:
    debian.cache().mkdir(parents=True, exist_ok=True)
    return (debian.cache() / "ports.lock").open("w")


def free_port() -> int:
    """Return a loopback port that is free, from below the range of outgoing connections.

    It is ours while this process lives: another run does not take it when the server is down.
    """
    while True:
        port = random.randint(20_000, 30_000)
        with _taking:
            if port in _taken:
                continue
            try:
                fcntl.lockf(_ports(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                continue
            _taken.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def answers(host: str, port: int, question: bytes = b"", answer: bytes = b"") -> bool:
    """Tell whether a port accepts, and answers `question` with `answer`."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(question)
            return not answer or connection.recv(4096).startswith(answer)
    except OSError:
        return False


#: What bwrap runs ends with the thread that has started it. These end with the whole process.
_starters = ThreadPoolExecutor(8)


class _Process(Executor):
    """The server's process; it has started when `ready` says so."""

    def __init__(
        self, command: list[str], ready: Callable[[], bool], log: Path, environment: dict[str, str]
    ) -> None:
        self._log = log.open("ab")
        super().__init__(
            command,
            timeout=START_SECONDS,
            sleep=0.02,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            envvars=environment,
            cwd=str(log.parent),
        )
        self._ready = ready

    def pre_start_check(self) -> bool:
        return False

    def after_start_check(self) -> bool:
        return self._ready()

    def members(self) -> list[psutil.Process]:
        """Return the server's own processes, without the wrapper around them."""
        if self.process is None:
            return []
        try:
            wrapper = psutil.Process(self.process.pid)
            tree = [wrapper, *wrapper.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        return [one for one in tree if _is_server(one)]


def _is_server(process: psutil.Process) -> bool:
    try:
        return bool(process.name() != "bwrap")
    except psutil.NoSuchProcess:
        return False


def _stands_still(process: psutil.Process) -> bool:
    """Return whether each of its threads is stopped, or has ended."""
    with suppress(psutil.NoSuchProcess):
        for thread in process.threads():
            with suppress(psutil.NoSuchProcess):
                status = psutil.Process(thread.id).status()
                if status not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
                    return False
    return True


class Server(ABC):
    """One real server with its data in a temporary folder, on loopback ports of its own."""

    key: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    #: Where its data is.
    place: ClassVar[Path] = debian.SHARED
    #: What has to answer beside a server that is given by its address.
    beside: ClassVar[str] = ""

    def __init__(
        self, source: Source, *, default_ports: bool = False, given: str | None = None
    ) -> None:
        self.source = source
        self.default_ports = default_ports
        self.given = given
        self.host = "127.0.0.1"
        self.data = Path(tempfile.mkdtemp(prefix=f"{self.key}-", dir=work_root(self.place)))
        self._process: _Process | None = None
        self.starts = 0
        if given:
            self.host, self.port_number = self._given_place(given)
        else:
            self.prepare()

    # What each server says of itself.

    @classmethod
    @abstractmethod
    def on_machine(cls) -> bool:
        """Tell whether this machine has the server, in a version the handbook teaches."""

    @classmethod
    @abstractmethod
    def in_folder(cls) -> bool:
        """Tell whether the project's own folder of servers has it."""

    @abstractmethod
    def prepare(self) -> None:
        """Choose ports and write the configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and arguments that run the server in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return what the server wants in its environment, besides its home folder."""
        return {}

    @abstractmethod
    def ready(self) -> bool:
        """Tell whether the server really answers in its own protocol."""

    @abstractmethod
    def own_address(self) -> str:
        """Return the address of a server that we started."""

    @abstractmethod
    def version(self) -> str:
        """Return the version that the running server says it has."""

    @abstractmethod
    def empty(self) -> None:
        """Remove everything that a test may have left in the running server."""

    # What every server can do.

    @classmethod
    def taught(cls, version: str) -> bool:
        """Tell whether a version is of the generation that runs, or newer."""
        broker = named(cls.key)
        return newer(version, broker.newest if debian.CHOSEN is NEWEST else broker.oldest)

    def at_least(self, *version: int) -> bool:
        """Tell whether the running server has this version, or a newer one."""
        return newer(self.version().split()[-1], version)

    @property
    def broker(self) -> Broker:
        return named(self.key)

    @property
    def address(self) -> str:
        """Return what goes into the broker's environment variable."""
        return self.given or self.own_address()

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """Return the environment variable with which a snippet finds this server."""
        assert self.broker.variable
        return {self.broker.variable: self.address}

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    def port(self, default: int) -> int:
        """Return a free port, or the default one, which another program must not have."""
        if not self.default_ports:
            return free_port()
        if answers(self.host, default):
            raise RuntimeError(f"port {default} is taken: end the program that listens there")
        return default

    def _given_place(self, address: str) -> tuple[str, int]:
        """Return the host and the port of an address, or of the first in a list of them."""
        first, default = address.split(",")[0], self.broker.default_address or ""
        parts, usual = (urlsplit(one if "://" in one else f"//{one}") for one in (first, default))
        try:
            return parts.hostname or self.host, parts.port or usual.port or 0
        except ValueError as error:
            raise NotFoundError(f"{self.broker.variable} is {address}: {error}") from None

    def start(self) -> None:
        """Start the server, on the data that is there; return when it answers."""
        if self.given:
            if not self.ready():
                raise NotFoundError(
                    f"{self.broker.variable} is {self.given}, but no {self.broker.label} answers "
                    f"there{self.beside}: start it, or unset the variable"
                )
            return
        assert self._process is None, f"{self.key} is running already"
        environment = {"HOME": str(self.data), **self.environment()}
        process = _Process(self.command(), self.ready, self.log, environment)
        try:
            _starters.submit(process.start).result()
        except (ProcessExitedWithError, TimeoutExpired) as error:
            raise RuntimeError(
                f"{self.broker.label} did not start: {error}\nThe end of its log:\n{self.tail()}"
            ) from error
        except BaseException:
            process.kill()
            raise
        self._process = process
        self.starts += 1

    def stop(self) -> None:
        """Ask the server to end, as an operator would, and wait until it has."""
        self._end(self.stop_signal)

    def _end(self, number: int) -> None:
        self._ours()
        if self._process is None:
            return
        members = self._process.members()
        self._signal(number, members if number == signal.SIGKILL else members[:1])
        psutil.wait_procs(members, timeout=STOP_SECONDS)
        process, self._process = self._process, None
        # The wrapper ends with the server; given that moment it leaves no zombie behind.
        with suppress(subprocess.TimeoutExpired):
            if process.process:
                process.process.wait(timeout=5)
        process.kill()

    def kill(self) -> None:
        """End the server by kill -9: it gets no chance to save anything."""
        self._end(signal.SIGKILL)

    @contextmanager
    def another(self, kind: type[Kind]) -> Iterator[Kind]:
        """Run a server with settings of its own, from where this one comes, and remove it."""
        self._ours()
        other = kind(self.source)
        try:
            other.start()
            yield other
        finally:
            other.close()

    def freeze(self) -> None:
        """Stop the server in its tracks (SIGSTOP): connections stay, nothing answers."""
        self._ours()
        assert self._process, f"{self.key} is not running"
        members = self._process.members()
        self._signal(signal.SIGSTOP, members)
        # A thread on another processor runs on until the signal has reached it.
        deadline = time.monotonic() + 60
        while not all(map(_stands_still, members)):
            assert time.monotonic() < deadline, f"{self.key} does not stop"
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process, f"{self.key} is not running"
        self._signal(signal.SIGCONT, self._process.members())

    def stop_storing(self) -> None:
        """From now on the server keeps nothing that reaches it: it must not confirm it either."""
        self.freeze()

    def _ours(self) -> None:
        if self.given:
            raise NotOursError(
                f"{self.broker.label} was given by its address: it is not ours to stop or to kill"
            )

    @staticmethod
    def _signal(number: int, members: list[psutil.Process]) -> None:
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    @property
    def running(self) -> bool:
        if self.given:
            return self.ready()
        return self._process is not None and self._process.running()

    def reset(self) -> None:
        """Bring the server back, running and empty, whatever a test did to it."""
        if not self.running:
            if not self.given:
                self.kill()
            self.start()
        if self.given and os.environ.get("ERASE") != "yes":
            raise NotFoundError(
                f"{self.broker.variable} is set, and the tests would erase everything on that "
                "server: set ERASE=yes to agree, or unset the variable"
            )
        self.empty()

    def restart_on_nothing(self) -> None:
        """Start again without the old data: the way to empty a server that starts at once."""
        self.kill()
        shutil.rmtree(self.data)
        self.data.mkdir()
        self.prepare()
        self.start()

    def close(self) -> None:
        """End the server and remove its data."""
        if not self.given:
            self.kill()
        shutil.rmtree(self.data, ignore_errors=True)

    def tail(self, lines: int = 30) -> str:
        """Return the end of the server's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Poll until `condition` holds; after `seconds` raise `TimeoutError` that says `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def newer(version: str, minimum: tuple[int, ...]) -> bool:
    """Tell whether a dotted version is at least `minimum`."""
    numbers = tuple(int(part) for part in version.split(".")[: len(minimum)] if part.isdigit())
    return numbers >= minimum
