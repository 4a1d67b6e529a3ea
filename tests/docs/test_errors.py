"""Each recorded error has its entry on the page of its broker, and each entry its record."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from pathlib import Path

import pytest

from handbook.errors import entries, recorded
from tests.errors.recorded import keys
from tests.records import ROOT

TESTS = sorted((ROOT / "tests" / "errors").glob("test_*.py"))


@pytest.mark.parametrize("tests", TESTS, ids=lambda tests: tests.stem)
def test_every_error_that_is_provoked_is_recorded_and_has_its_entry(tests: Path) -> None:
    broker = tests.stem.removeprefix("test_")
    provoked = [f"{broker}/{key}" for key in keys(tests)]
    known = [key for key in recorded(ROOT) if key.startswith(f"{broker}/")]
    assert known == provoked, f"run {tests.name} with --update"
    shown = Counter(each.key for each in entries(ROOT) if each.page == f"errors/{broker}.md")
    assert shown == Counter(provoked), f"docs/errors/{broker}.md: `::: error {broker}/…`"


def test_recorded_clients_are_those_of_the_lock() -> None:
    behind = []
    for key, texts in recorded(ROOT).items():
        for versions in (each for text in texts for each in text.seen.values()):
            name, _, version = versions.get("client", "").partition(" ")
            try:
                now = importlib.metadata.version(name) if name else version
            except importlib.metadata.PackageNotFoundError:
                continue  # a program, which comes with the servers
            behind += [f"{key}: {name} {version}, now {now}"] if now != version else []
    assert behind == [], "run tests/errors with --update"
