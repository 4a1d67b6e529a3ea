"""A process that runs tests for one mutant after another, on servers that it starts once.

It has a copy of the handbook, so that what is taken away is gone for nobody else.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.mutants.candidates import Mutant
from tests.snippets.running import MUTANT, ROOT, SNIPPETS

#: Seconds for one test: what takes longer has stalled, which is noticed.
SECONDS = 90
#: Of the handbook, what no test of a snippet needs.
NOT_COPIED = (".*", "node_modules", "site")


@dataclass(eq=False)  # as a plugin of pytest, it has to be hashable
class Run:
    """What pytest did: which tests passed, which one failed, and what was printed."""

    passed: list[str] = field(default_factory=list)
    failed: str | None = None
    said: str = ""


class Tester:
    """The process, seen by who asks it."""

    def __init__(self, copy: Path) -> None:
        self._snippets = copy / SNIPPETS.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=copy,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # What Python compiled may be as old and as long as the next mutant of the file.
            env={**os.environ, MUTANT: "yes", "SURVIVAL": "all", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def run(self, tests: Sequence[str], mutant: Mutant | None, survive: str = "") -> Run:
        """Run tests until one fails."""
        assert self._process.stdin
        assert self._process.stdout
        if mutant:
            file = self._snippets / mutant.file
            original = file.read_text()
            file.write_text(mutant.of(original))
        try:
            self._process.stdin.write(json.dumps({"tests": tests, "survive": survive}) + "\n")
            self._process.stdin.flush()
            return Run(**json.loads(self._process.stdout.readline()))
        finally:
            if mutant:
                file.write_text(original)

    def end(self) -> None:
        self._process.communicate()


@contextmanager
def started() -> Iterator[Tester]:
    """Start one, and end it with its servers."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / ROOT.name
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        one = Tester(copy)
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


def _forget() -> None:
    """Forget the snippets, and the tests that have imported some or read what we say."""
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None) or ""
        if file.startswith(str(SNIPPETS)) or name.startswith(("tests.survival", "tests.types")):
            del sys.modules[name]


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
        asked = json.loads(line)
        os.environ["SURVIVE"] = asked["survive"]
        _forget()
        seen, said = _Seen(), io.StringIO()
        with redirect_stdout(said):
            pytest.main([*options, *asked["tests"]], plugins=[seen])
        run = Run(seen.passed, seen.failed, said.getvalue()[-3000:])
        answers.write(json.dumps(asdict(run)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
