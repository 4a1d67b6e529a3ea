"""The stage on which a claim is tested: a snippet, its server, and actors in their processes."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from tests.brokers import Server
from tests.brokers.server import wait_until
from tests.patterns.home import WARM_UP
from tests.patterns.nursery import nursery
from tests.snippets.running import SNIPPETS, download, holder, mutated, whole_code

#: Seconds after which a message that nobody acknowledged must have come again. Where the broker
#: sees the lost connection it is at once; the others wait for a time-out, which the snippets set
#: as low as the broker lets them.
REDELIVERY = {"kafka": 8.0, "nats": 8.0, "redis": 8.0}
#: A lease is longer in a test than in a snippet: on a busy machine, its worker still renews it.
LEASES = {
    "nats": ("ACK_WAIT = 2.0", "ACK_WAIT = 6.0"),
    "redis": ("LEASE = 2", "LEASE = 5"),
}
AT_ONCE = 1.5
#: Seconds more for a changed snippet to show that it breaks a claim: its run ends when it does.
TO_BREAK = 6.0

#: For a condition of the set-up, or a claim that holds: on a busy machine it takes its time.
SECONDS = 40
#: Longer than a client's own request time-out, after which it tries again.
CALL_SECONDS = 120


#: What Python raises where a changed snippet makes no sense.
NONSENSE = ("AttributeError", "ImportError", "NameError", "TypeError", "UnboundLocalError")


#: What an actor says last, in one word.
ENDS = {"returned", "error", "cancelled"}


class SnippetError(Exception):
    """A snippet's function failed where the test did not ask it to."""


class Process:
    """One home of actors, its events read as they come."""

    def __init__(self, snippet: Path, environment: dict[str, str]) -> None:
        self.events: list[dict[str, Any]] = []
        #: What each actor said last, by its name, once it has ended: asked for again and again.
        self.last: dict[str, dict[str, Any]] = {}
        self._log = snippet.with_name(f"{snippet.stem}-{time.monotonic_ns()}.log")
        theirs, commands = os.pipe()
        events, ours = os.pipe()
        with self._log.open("w") as log, os.fdopen(theirs), os.fdopen(ours):
            self._process = nursery().fork(snippet, environment, (theirs, ours, log.fileno()))
        self._commands = os.fdopen(commands, "w")
        self._events = os.fdopen(events)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._events:
            for line in self._events:
                if line.startswith('{"'):  # or a snippet prints something
                    event = json.loads(line)
                    self.events.append(event)
                    if "actor" in event and not ENDS.isdisjoint(event):
                        self.last[event["actor"]] = event

    def tell(self, **command: object) -> None:
        with suppress(BrokenPipeError):  # who is gone obeys nothing
            self._commands.write(json.dumps(command) + "\n")
            self._commands.flush()

    @property
    def alive(self) -> bool:
        return self._process.is_running()

    def errors(self) -> str:
        return self.log()[-2000:]

    def log(self) -> str:
        return self._log.read_text()

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        with suppress(psutil.NoSuchProcess):
            self._process.terminate()

    def ask_to_end(self) -> None:
        """Close its input: its actors are cancelled, as at a shutdown, and leave their brokers."""
        with suppress(BrokenPipeError):
            self._commands.close()

    def end(self) -> None:
        """Wait a moment for it to end by itself."""
        with suppress(psutil.TimeoutExpired):
            self._process.wait(2)
        self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, and read what it said before."""
        with suppress(psutil.NoSuchProcess):
            self._process.kill()
        self._process.wait()
        self._reader.join()
        self.ask_to_end()


class Actor:
    """One call of a snippet's function, and what its handler was given."""

    def __init__(self, name: str, process: Process, *, own_process: bool) -> None:
        self.name = name
        self.process = process
        self.own_process = own_process

    def _said(self, what: str) -> list[Any]:
        return [
            event[what]
            for event in list(self.process.events)
            if event.get("actor") == self.name and what in event
        ]

    @property
    def _last(self) -> dict[str, Any]:
        return self.process.last.get(self.name, {})

    @property
    def warmed_up(self) -> list[str]:
        """Return the tasks of no interest that the handler was called with."""
        return [item for item in self._said("taken") if item.startswith(WARM_UP)]

    @property
    def taken(self) -> list[str]:
        """Return what the handler was called with, in order."""
        return [item for item in self._said("taken") if not item.startswith(WARM_UP)]

    @property
    def deliveries(self) -> list[int | None]:
        """Return the number of the delivery that came with each call of the handler."""
        return [more[0] if more else None for more in self._said("more")]

    @property
    def counted(self) -> dict[str, int | None]:
        """Return, for each message, the number that came with its last delivery."""
        return {
            event["taken"]: event["more"][0] if event["more"] else None
            for event in list(self.process.events)
            if event.get("actor") == self.name and "taken" in event
        }

    @property
    def more(self) -> list[list[Any]]:
        """Return what came with each call of the handler, behind the message itself."""
        return self._said("more")

    @property
    def times(self) -> list[float]:
        """Return when the handler was called, in seconds since the epoch, in order of `taken`."""
        return [
            event["at"]
            for event in list(self.process.events)
            if event.get("actor") == self.name
            and not event.get("taken", WARM_UP).startswith(WARM_UP)
        ]

    @property
    def done(self) -> list[str]:
        """Return what the handler finished."""
        return [item for item in self._said("done") if not item.startswith(WARM_UP)]

    @property
    def returned(self) -> bool:
        return "returned" in self._last

    @property
    def value(self) -> Any:
        """Return what the function returned; None before."""
        return next(iter(self._said("value")), None)

    @property
    def error(self) -> str:
        return str(self._last.get("error", ""))

    @property
    def cancelled(self) -> bool:
        return "cancelled" in self._last

    @property
    def halfway(self) -> bool:
        return bool(self._said("halfway"))

    @property
    def ended(self) -> bool:
        return bool(self._last) or not self.process.alive

    def release(self, label: str = "") -> None:
        """Let a handler that holds its message finish it, and do all that follow.

        A handler that does as it is told finishes the messages that carry the label, now and later.
        """
        self.process.tell(do="release", actor=self.name, label=label)

    def go_on(self) -> None:
        """Let a publisher that stopped halfway continue."""
        self.process.tell(do="continue", actor=self.name)

    def kill(self) -> None:
        """Crash: SIGKILL for its process, or for the minibroker the task cancelled."""
        if self.own_process:
            self.process.kill()
        else:
            self.process.tell(do="kill", actor=self.name)


class Stage:
    """A snippet's copy, changed or not, its empty server, and whoever acts."""

    def __init__(
        self,
        key: str,
        snippet: Path,
        server: Server | None,
        *,
        addresses: Mapping[str, str] | None = None,
        holds: bool = True,
        without: bool = False,
        seconds: float = SECONDS,
        to_see: float | None = None,
    ) -> None:
        self.key = key
        self.holds = holds
        self.without = without
        self.snippet = snippet
        self.server = server
        self.addresses = addresses or (server.environment_of_clients if server else {})
        self.seconds = seconds
        self.to_see = to_see
        self.redelivery = REDELIVERY.get(key, AT_ONCE)
        self._processes: list[Process] = []
        self._caller: Process | None = None
        self._actors: list[Actor] = []
        self._names = (f"actor {number}" for number in itertools.count(1))
        self._warm_ups = itertools.count(1)
        self._starts = server.starts if server else 0

    @classmethod
    def of(
        cls,
        topic: str,
        key: str,
        server: Server | None,
        folder: Path,
        *,
        addresses: Callable[[str], dict[str, str]] | None = None,
        seconds: float = SECONDS,
    ) -> Self:
        """Return the stage of a topic's snippet as it is, copied into `folder`."""
        snippet = SNIPPETS / topic / f"on_{key}.py"
        copy = download(snippet, folder)
        found = addresses(whole_code(snippet)) if addresses else None
        return cls(key, copy, server, addresses=found, seconds=seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.ask_to_end()
        for process in self._processes:
            process.end()

    def refuse_nonsense(self) -> None:
        """Raise `SnippetError` if a changed snippet stumbled over its change.

        An error is a proof only where the test ended the server, or told the handler to fail.
        """
        ended = self.server is not None and self.server.starts != self._starts
        for actor in self._actors:
            if actor.error and (actor.error.startswith(NONSENSE) or not ended):
                raise SnippetError(
                    f"the change makes no sense, so it proves nothing: {actor.error}"
                )

    def replace(self, text: str, instead: str) -> None:
        """Change the snippet's copy, before anybody acts: to show what another way would do."""
        assert not self._processes
        file, found = holder(self.snippet, text)
        if found != 1 and mutated():
            pytest.skip("the mutant lacks what this test changes")
        if found != 1:
            raise LookupError(
                f"{self.snippet.name} must have once, and has {found} times: {text!r}"
            )
        file.write_text(file.read_text().replace(text, instead))

    def kill_processes(self) -> None:
        """End every actor by SIGKILL; the minibroker, which lives among them, ends too."""
        while self._processes:
            self._processes.pop().kill()

    def _home(self) -> Process:
        if self.server is None and self._processes:
            return self._processes[0]
        process = Process(self.snippet, {**os.environ, **self.addresses})
        self._processes.append(process)
        return process

    def _callers_home(self) -> Process:
        """Return the process in which calls follow each other: to start one costs half a second."""
        if self._caller is None or self._caller not in self._processes or not self._caller.alive:
            self._caller = self._home()
        return self._caller

    def spawn(
        self,
        function: str,
        *,
        mode: str = "do",
        only: str = "",
        times: int | None = None,
        **arguments: Any,
    ) -> Actor:
        """Call a snippet's function in a process of its own, and don't wait.

        `mode` is what the handler does: "do" its work and return "<message>: done", "hold" the
        first message for ever, "fail" on each. `only` holds or fails the messages that contain this
        text, `times` the first so many calls with one message. "halfway" stops a publisher in the
        middle of its messages.
        """
        handler = {"mode": mode, "only": only, "times": times}
        return self._act(self._home(), function, handler, arguments)

    def begin(self, function: str, **arguments: Any) -> Actor:
        """Call a snippet's function in the process of all calls, and don't wait."""
        handler = {"mode": "do", "only": "", "times": None}
        return self._act(self._callers_home(), function, handler, arguments)

    def _act(
        self, process: Process, function: str, handler: dict[str, Any], arguments: dict[str, Any]
    ) -> Actor:
        actor = Actor(next(self._names), process, own_process=self.server is not None)
        if handler["mode"] != "fail":
            self._actors.append(actor)
        actor.process.tell(
            do="spawn", actor=actor.name, function=function, handler=handler, arguments=arguments
        )
        return actor

    def call(self, function: str, **arguments: Any) -> Any:
        """Call a snippet's function and return its value; raise `SnippetError` when it fails."""
        actor = self.begin(function, **arguments)
        wait_until(lambda: actor.ended, f"{function}() to return", CALL_SECONDS)
        if not actor.returned:
            raise SnippetError(
                f"{self.key}: {function}() failed: {actor.error}\n{actor.process.errors()}"
            )
        return actor.value

    def happens(self, condition: Callable[[], bool], *actors: Actor) -> bool:
        """Poll until the condition holds; False when it did not in time."""
        return self._within(self.seconds, condition, actors)

    def reached(self, worker: Actor) -> bool:
        """Submit tasks of no interest until the worker has had one; others may keep theirs."""

        def offered() -> bool:
            self.call("submit", tasks=[WARM_UP])
            return bool(worker.warmed_up)

        return self.happens(offered, worker)

    def in_time(self, condition: Callable[[], bool], *actors: Actor) -> bool:
        """Poll like `happens`, for what must not happen without the line that carries the claim.

        There, it is waited for no longer than the broker would need.
        """
        seconds = self.seconds if self.to_see is None else self.to_see
        return self._within(seconds, condition, actors)

    @staticmethod
    def _within(seconds: float, condition: Callable[[], bool], actors: Iterable[Actor]) -> bool:
        try:
            wait_until(condition, "a claim", seconds)
        except TimeoutError:
            for actor in actors:
                print(f"{actor.name}: taken {actor.taken}, done {actor.done}, {actor.error}")
                print(actor.process.errors())
            return False
        return True

    def stays(
        self, condition: Callable[[], bool], seconds: float, *, no_longer: bool = False
    ) -> bool:
        """Watch for so long whether the condition goes on to hold.

        Without its line a snippet has to break it, and a slow machine may take longer for that
        than the claim is watched: then it has some slack. `no_longer` is for a time that has to
        pass and no more.
        """
        slack = TO_BREAK if self.without and not no_longer else 0
        deadline = time.monotonic() + seconds + slack
        while time.monotonic() < deadline:
            if not condition():
                return False
            time.sleep(0.02)
        return condition()

    def work_is_shared_by(self, *workers: Actor) -> bool:
        """Submit tasks of no interest until every worker has had one: then all are at work.

        No handler holds them, and `taken` and `done` leave them out. False when some worker never
        gets one.
        """
        before = {worker.name: len(worker.warmed_up) for worker in workers}
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            names = [f"{WARM_UP} {next(self._warm_ups)}" for _ in "ab"]
            self.call("submit", tasks=names)
            wait_until(partial(_begun, workers, set(names)), "the workers to begin")
            if all(len(worker.warmed_up) > before[worker.name] for worker in workers):
                return True
        return False


def _begun(workers: Iterable[Actor], names: set[str]) -> bool:
    return names <= {item for worker in workers for item in worker.warmed_up}


def everything(attribute: str, actors: Iterable[Actor]) -> list[str]:
    """Return what all the actors took or did, sorted."""
    return sorted(item for actor in actors for item in getattr(actor, attribute))
