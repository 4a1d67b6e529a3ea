"""What a pattern's snippet prints, run as a reader runs it: for `make mutants`, without a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.snippets.running import (
    MINIBROKER,
    all_snippets,
    broker_key,
    name,
    run_with_python,
    whole_code,
)


@pytest.fixture
def address(snippet: Path, addresses: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """Where its servers are: to start them takes nothing of the test's time."""
    return addresses(whole_code(snippet))


@pytest.mark.parametrize(
    "snippet",
    [
        # An idea is on the minibroker.
        pytest.param(
            path, id=name(path), marks=pytest.mark.broker(broker_key(path) or MINIBROKER.stem)
        )
        for path in all_snippets()
        if name(path).startswith("patterns/")
    ],
)
def test_output(snippet: Path, address: dict[str, str], tmp_path: Path) -> None:
    printed = run_with_python(snippet, tmp_path, address)
    assert printed == snippet.with_suffix(".out").read_text()
