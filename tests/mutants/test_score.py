"""What `make mutants` knows of an earlier run, and the score that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutants import score
from tests.mutants.candidates import mutants_of
from tests.snippets.running import SNIPPETS

FILE = "patterns/work_queue/on_minibroker.py"
ONE, OTHER, *_ = mutants_of(SNIPPETS / FILE)


def test_what_was_noticed_is_known_again(tmp_path: Path) -> None:
    score.Notes(tmp_path).keep(ONE, "test_one")
    score.Notes(tmp_path).keep(OTHER, "test_other")
    again = score.Notes(tmp_path)
    assert [again.of(ONE), again.of(OTHER)] == [
        "test_one",
        "test_other",
    ]


def test_it_is_known_no_more_when_the_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = score.Notes(tmp_path / "notes")
    notes.keep(ONE, "test_one")
    changed = tmp_path / FILE
    changed.parent.mkdir(parents=True)
    changed.write_text((SNIPPETS / FILE).read_text() + "\n")
    monkeypatch.setattr(score, "SNIPPETS", tmp_path)
    assert notes.of(ONE) is None


def test_each_seed_has_a_score_and_another_leaves_it(tmp_path: Path) -> None:
    file = tmp_path / "mutants.json"
    kinds = ("noticed", "explained", "SURVIVED", "not tried")
    for seed, noticed in (7, ["a", "b"]), (3, ["a"]), (7, ["c"]):
        verdicts = {kind: [str(ONE)] for kind in kinds} | {"noticed": noticed}
        score.record(seed, 100, verdicts, file)
    scores = json.loads(file.read_text())
    assert list(scores) == ["3", "7"]
    assert [one["noticed"] for one in scores.values()] == [1, 1]
    assert scores["7"]["drawn"] == 4
    assert scores["7"]["survived"] == [str(ONE)]
