"""The closing table: both generations in one, and loud where one of them is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.brokers.generations import NEWEST, STABLE, Generation, wanted
from tests.report import Report


def ended(nodeid: str, server: str, outcome: str = "passed") -> Any:
    """Return what pytest says of a test on Redis."""
    said = {"broker": "redis", "server": server}
    return SimpleNamespace(
        nodeid=nodeid,
        when="call",
        outcome=outcome,
        user_properties=list(said.items()),
        passed=outcome == "passed",
        failed=outcome == "failed",
        skipped=False,
    )


def table(generation: Generation, file: Path, *reports: Any, again: bool = False) -> list[str]:
    """Return the lines below the heading that a run ends with."""
    config: Any = SimpleNamespace(option=SimpleNamespace(servers=again, table=file))
    made = Report(config, generation, update=False, required=False)
    for each in reports:
        made.pytest_runtest_logreport(each)
    lines: list[str] = []
    write: Any = SimpleNamespace(
        section=lambda _: None, line=lambda text, **_: lines.append(" ".join(text.split()))
    )
    made.pytest_terminal_summary(write)
    return lines[1:]


def test_the_second_run_shows_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache" / "table.json"
    monkeypatch.setenv("GENERATION", "newest")
    failed = ended("tests/a.py::test_b[redis]", "Redis 8.0.6 (folder, newest)", "failed")
    first = table(NEWEST, file, failed)
    monkeypatch.setenv("GENERATION", "stable")
    passed = ended("tests/a.py::test_c[redis]", "Redis 8.0.2 (folder, stable)")
    both = table(STABLE, file, passed, again=True)
    assert both[: len(first)] == first
    assert "failed, newest: tests/a.py::test_b[redis]" in first
    assert "Redis Streams Redis 8.0.6 (folder, newest) 0 1 0 NOT PROVEN" in first
    assert "Redis Streams Redis 8.0.2 (folder, stable) 1 0 0" in both[len(first) :]
    assert not [line for line in both[len(first) :] if line.startswith("Minibroker")]
    monkeypatch.setenv("GENERATION", "newest")
    assert table(NEWEST, file, failed) == first


def test_it_says_that_the_newest_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENERATION", raising=False)
    passed = ended("tests/a.py::test_c[redis]", "Redis 8.0.2 (folder, stable)")
    missing = "The newest servers are not here: run `make servers`. The stable ones ran."
    assert missing in table(STABLE, tmp_path / "table.json", passed)
    assert missing not in table(NEWEST, tmp_path / "table.json", passed)


@pytest.mark.parametrize(("word", "first"), [("", NEWEST), ("both", NEWEST), ("stable", STABLE)])
def test_the_first_that_is_wanted_runs(
    word: str, first: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATION", word)
    assert wanted()[0] is first
