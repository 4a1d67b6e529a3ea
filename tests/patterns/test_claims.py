"""The machinery of claims: what it takes for a failure, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.patterns.claims import Case, holds
from tests.patterns.stage import SnippetError, Stage


def case(line: str, instead: str) -> Case:
    """Return the work queue on the minibroker, with `instead` in the place of `line`."""
    return Case("minibroker", "patterns/work_queue", holds(line, instead), without=True)


def test_a_change_that_makes_no_sense_proves_nothing(tmp_path: Path) -> None:
    with Stage.of("patterns/work_queue", "minibroker", None, tmp_path) as stage:
        stage.replace("delivery.ack()", "delivery.nonsense()")
        stage.call("declare")
        stage.call("submit", tasks=["transcode cat.mp4"])
        stage.refuse_nonsense()
        worker = stage.spawn("work", worker="A")
        assert stage.happens(lambda: bool(worker.error), worker)
        with pytest.raises(SnippetError, match=r"makes no sense.*AttributeError"):
            stage.refuse_nonsense()


@pytest.mark.parametrize(("line", "times"), [("snore()", 0), ("asyncio", 3)])
def test_the_carrying_text_is_in_the_snippet_once(line: str, times: int, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=rf"on_minibroker\.py.* has {times} times"):
        case(line, "pass").prepare(tmp_path)


def test_a_change_has_to_be_python(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError):
        case("delivery.ack()", "delivery.ack(").prepare(tmp_path)
