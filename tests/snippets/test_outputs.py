"""Each snippet prints what its page shows: a fresh process, an empty broker, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.snippets.running import all_snippets, broker_key, name, run_with_python


def snippets(*, with_broker: bool) -> list[object]:
    """Return the snippets that need a broker, or those that need none, as test parameters."""
    return [
        pytest.param(path, id=name(path), marks=pytest.mark.broker(key) if key else ())
        for path in all_snippets()
        if bool(key := broker_key(path)) == with_broker
    ]


def compare(snippet: Path, printed: str, *, update: bool) -> None:
    """Compare what a snippet printed with its output file, or write that file."""
    recorded = snippet.with_suffix(".out")
    if update:
        recorded.write_text(printed)
    assert recorded.exists(), f"{name(recorded)} is missing: run `make record`"
    assert printed == recorded.read_text()


@pytest.mark.parametrize("snippet", snippets(with_broker=True))
def test_output_on_its_broker(
    snippet: Path,
    addresses: Callable[[str], dict[str, str]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    printed = run_with_python(snippet, tmp_path, addresses(snippet.read_text()))
    compare(snippet, printed, update=pytestconfig.getoption("--update"))


@pytest.mark.parametrize("snippet", snippets(with_broker=False))
def test_output(snippet: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    printed = run_with_python(snippet, tmp_path, {})
    compare(snippet, printed, update=pytestconfig.getoption("--update"))
