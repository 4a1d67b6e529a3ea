"""A process that runs tests for one mutant after another, on servers that it starts once."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from tests.mutants.candidates import Mutant
from tests.snippets.running import MUTANT, ROOT

#: Seconds for one test: what takes longer has stalled, which is noticed.
SECONDS = 90


@dataclass(eq=False)  # as a plugin of pytest, it has to be hashable
class Run:
    """What pytest did: which tests passed, which one failed, and what was printed."""

    passed: list[str] = field(default_factory=list)
    failed: str | None = None
    said: str = ""


class Tester:
    """The process, seen by who asks it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: Sequence[str], mutant: Mutant | None, survive: str = "") -> Run:
        """Run tests until one fails."""
        assert self._process.stdin
        assert self._process.stdout
        variables = {MUTANT: mutant.variable() if mutant else "", "SURVIVE": survive}
        self._process.stdin.write(json.dumps({"tests": tests, "variables": variables}) + "\n")
        self._process.stdin.flush()
        return Run(**json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        self._process.communicate()


@contextmanager
def started() -> Iterator[Tester]:
    """Start one, and end it with its servers."""
    one = Tester()
    try:
        yield one
    finally:
        one.end()


class _Seen(Run):
    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid
        elif report.passed and report.when == "call":
            self.passed.append(report.nodeid)


def _main() -> None:
    import tests.conftest as shared

    class Kept(shared.Servers):
        def close(self) -> None:
            self._missing.clear()  # it may start for the next one

    kept = Kept()
    atexit.register(shared.Servers.close, kept)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a test prints is no answer
    vars(shared)["Servers"] = lambda: kept
    options = ["-q", "-x", "-p", "no:cacheprovider", f"--timeout={SECONDS}"]
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        os.environ.update(asked["variables"], SURVIVAL="all")
        for name in [name for name in sys.modules if name.startswith("tests.survival")]:
            del sys.modules[name]  # it reads these variables when it is imported
        seen, said = _Seen(), io.StringIO()
        with redirect_stdout(said):
            pytest.main([*options, *asked["tests"]], plugins=[seen])
        run = Run(seen.passed, seen.failed, said.getvalue()[-3000:])
        answers.write(json.dumps(asdict(run)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
