"""The minibroker's snippets on the browser's Python, whole and with each claim's line changed."""

from __future__ import annotations

import asyncio
import json
import linecache
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest

from handbook.runner import PYODIDE, breaking, program, runnable
from tests.snippets.running import ROOT, SNIPPETS

SNIPPETS_THAT_RUN = runnable(SNIPPETS)
ON_MINIBROKER = [path for path, beside in SNIPPETS_THAT_RUN.items() if "minibroker.py" in beside]
BROKEN = [
    pytest.param(path, change["line"], change["instead"], id=f"{path}-{anchor}")
    for path, changes in breaking(ROOT).items()
    for anchor, change in changes.items()
]
#: A run that turns its loop so often, and prints nothing, goes on like this. Those that end do not.
TURNS = 500
#: Seconds by which each look at the clock differs: no two timers are set for the same moment.
TICK = 1e-6
#: Seconds after which Node is given up: a program never came back to its loop.
GIVEN_UP = 180


class Outcome(NamedTuple):
    """How a run came to its end: it "ended", "waits" for what never comes, or "goes on"."""

    how: str
    output: str
    error: str = ""

    def comparable(self) -> tuple[str, str, list[str]]:
        """Return it without what differs: ids, and how a version of Python shows a traceback."""
        return (
            self.how,
            re.sub(r"\b[0-9a-f]{16}\b", "id", self.output),
            self.error.splitlines()[-1:],
        )


Node = Callable[[str, dict[str, str]], Outcome]


def sources(path: str) -> dict[str, str]:
    """Return the snippet and the modules beside it, by their names without a folder."""
    names = [path, *SNIPPETS_THAT_RUN[path]]
    return {Path(name).name: (SNIPPETS / name).read_text() for name in names}


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """The browser's Python, loaded once."""
    if not (ROOT / PYODIDE).is_dir():
        pytest.fail(f"{PYODIDE} is missing: run `make test`, which installs it", pytrace=False)
    command = ["node", str(Path(__file__).with_name("under_node.mjs"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        jobs, outcomes = process.stdin, process.stdout

        def run(name: str, files: dict[str, str]) -> Outcome:
            job = {"name": name, "files": files, "turns": TURNS}
            print(json.dumps(job), file=jobs, flush=True)
            watch = Timer(GIVEN_UP, process.kill)
            watch.start()
            line = outcomes.readline()
            watch.cancel()
            assert line, f"Node came to its end, or had no answer for {GIVEN_UP} s"
            return Outcome(**json.loads(line))

        yield run
        process.kill()


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer. `quiet` is done when nothing more will come."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()
        self.quiet = self.create_future()
        self.turns, self.how = 0, "goes on"

    def time(self) -> float:
        """Return the seconds of this loop."""
        self.now += TICK
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, _: object, call: Callable[..., object], *given: Any
    ) -> asyncio.Future[object]:
        """Call it at once, as the browser's loop does, which has no threads."""
        result = self.create_future()
        try:
            result.set_result(call(*given))
        except Exception as error:  # whatever it is, it is for the one who awaits
            result.set_exception(error)
        return result

    def _run_once(self) -> None:
        own: Any = self
        self.turns += 1
        timers = [timer.when() for timer in own._scheduled if not timer.cancelled()]
        if not own._ready and timers:
            self.now = max(self.now, min(timers))
        elif not own._ready:
            self.how = "waits"
        if (self.how == "waits" or self.turns > TURNS) and not self.quiet.done():
            self.quiet.set_result(None)
        super()._run_once()  # type: ignore[misc]


def on_this_python(name: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Run it here, without waiting for its timers."""
    told = {"output": "", "error": "", "step": ""}
    loop = Jumping()

    def hear(kind: str, text: str) -> None:
        told[kind] += text
        if kind == "output":
            loop.turns = 0

    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "minibroker", raising=False)
        patch.setattr(time, "monotonic", loop.time)
        running = loop.create_task(program.run(name, files, hear))
        first = asyncio.wait({running, loop.quiet}, return_when=asyncio.FIRST_COMPLETED)
        loop.run_until_complete(first)
        how = "ended" if running.done() else loop.how
        outcome = Outcome(how, told["output"], told["error"])
        running.cancel()
        loop.run_until_complete(running)
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    for file in files:
        linecache.cache.pop(file, None)
    return outcome


@pytest.mark.parametrize("path", ON_MINIBROKER)
def test_a_snippet_prints_what_its_page_shows(node: Node, path: str) -> None:
    outcome = node(Path(path).name, sources(path))
    assert outcome == Outcome("ended", (SNIPPETS / path).with_suffix(".out").read_text())


@pytest.mark.parametrize(("path", "line", "instead"), BROKEN)
def test_without_its_line_it_does_what_it_does_outside_of_a_browser(
    node: Node, path: str, line: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sources(path)
    changed = {name: text.replace(line, instead) for name, text in files.items()}
    assert changed != files
    here = on_this_python(Path(path).name, changed, monkeypatch)
    there = node(Path(path).name, changed)
    assert there.comparable() == here.comparable()
