"""The stage fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Server
from tests.patterns.claims import Case
from tests.patterns.stage import LEASES, REDELIVERY, SECONDS, Stage
from tests.snippets.running import whole_code


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say for the record which claim a test proves, before anything of it can fail."""
    if isinstance(item, pytest.Function) and (made := getattr(item.function, "claim", None)):
        case: Any = item.callspec.params["case"]
        if item.get_closest_marker(name="broker") != pytest.mark.broker(case.key).mark:
            return  # a broker's record is of its own server
        said = {"topic": case.topic, "key": case.key, "without": case.without}
        item.user_properties.append(("claim", said | made.recorded()))


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
    short = REDELIVERY.get(case.key, 0) + 4
    with Stage(
        case.key,
        snippet,
        server,
        addresses=addresses(whole_code(case.original)),
        holds=case.proof.holds,
        without=case.without,
        seconds=short if case.without and not case.proof.seen else SECONDS,
        to_see=short if case.without else None,
    ) as stage:
        yield stage
