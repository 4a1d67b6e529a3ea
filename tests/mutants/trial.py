"""Whether a mutant is noticed: by its snippets' output, by their claims, by their survival."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from tests.mutants.candidates import Mutant
from tests.snippets.running import MUTANT, ROOT

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
#: Seconds for one claim, and for one output: what takes longer has stalled, which is noticed.
SECONDS = 90
OUTPUT_SECONDS = 60


class NoProofError(Exception):
    """The tests say nothing of a mutant, because they did not run."""


def explained() -> list[dict[str, str]]:
    """Return the lines that nothing needs, each with its reason."""
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["line"]
    return entries


def fits(entry: dict[str, str], mutant: Mutant) -> bool:
    """Tell whether an entry of the list is about this mutant."""
    return (
        entry["file"] == mutant.file
        and entry["taken"] == mutant.taken
        and entry.get("instead", mutant.instead) == mutant.instead
    )


def rounds_for(snippets: Sequence[str], *, survival: bool) -> list[list[str]]:
    """Return what pytest is told for each round, the quickest first."""
    keys = sorted({Path(path).stem.removeprefix("on_") for path in snippets})
    outputs = [f"tests/mutants/output.py::test_output[{path}]" for path in snippets]
    claims = [f"tests/patterns/test_{Path(path).parent.name}.py" for path in snippets]
    which = f"({' or '.join(keys)}) and not without-its-line"
    rounds = [outputs, [*dict.fromkeys(claims), "-k", which]]
    if survival:
        rounds += [["tests/survival/test_survival.py", "-k", key] for key in keys]
    return rounds


def fails(tests: Sequence[str], mutant: Mutant | None, *, survive: str = "") -> str | None:
    """Run tests until one fails, and return its id; None when all pass."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        seconds = OUTPUT_SECONDS if "/output.py" in tests[0] else SECONDS
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--timeout={seconds}"]
        environment = {**os.environ, "SURVIVE": survive, "SURVIVAL": "all"}
        environment[MUTANT] = mutant.variable() if mutant else ""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *tests],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            raise NoProofError(f"{done.stdout}\n{done.stderr}")
        cases = ElementTree.parse(report).getroot().findall(".//testcase")
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    if all(case.find("skipped") is not None for case in cases):
        raise NoProofError(f"no test of {tests} ran\n{done.stdout}")
    return None


@cache
def passes_as_it_is(test: str) -> bool:
    """Tell whether a test passes on the snippet as it is; one that does not notices nothing."""
    return fails([test], None) is None


def noticed_by(mutant: Mutant, snippets: Sequence[str], *, survival: bool = False) -> str | None:
    """Return the test that notices the mutant; None when it survives."""
    for tests in rounds_for(snippets, survival=survival):
        wanted = snippets[0].removesuffix(".py") if len(snippets) == 1 else ""
        test = fails(tests, mutant, survive=wanted)
        if test and "tests/survival" not in test and not passes_as_it_is(test):
            raise NoProofError(f"{test} fails on the snippet as it is")
        if test:
            return test
    return None
