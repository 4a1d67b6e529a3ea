"""The stage fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.patterns.claims import Case
from tests.patterns.stage import LEASES, REDELIVERY, Stage
from tests.snippets.running import whole_code


@pytest.fixture
def stage(
    case: Case,
    server: Server | None,
    addresses: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> Iterator[Stage]:
    """The snippet of the case in a folder of its own, with its server running and empty."""
    snippet = case.prepare(tmp_path)
    snippet.write_text(snippet.read_text().replace(*LEASES.get(case.key, ("", ""))))
    # A claim that must fail is not given longer than the broker needs to keep it.
    seconds = REDELIVERY.get(case.key, 0) + 4 if case.without else 40
    with Stage(
        case.key,
        snippet,
        server,
        addresses=addresses(whole_code(case.original)),
        holds=case.proof.holds,
        without=case.without,
        seconds=seconds,
    ) as stage:
        yield stage
