"""Each pattern's own snippet in a cluster of three, whose leader is killed while it works.

A trial asserts inside what its sentence says: tests/atlas/patterns/trials.py. Each run of the tests
tries two; all of them: `ATLAS=all`, or `make atlas`, which records them.
"""

from __future__ import annotations

import asyncio
import json
import os

import jsonschema
import pytest

from tests.atlas.patterns.record import FILE, described
from tests.atlas.patterns.trials import TRIALS
from tests.atlas.run import run_pattern
from tests.brokers.cluster.needed import demand
from tests.records import DATA, ROOT

QUICK = ("work_queue", "idempotent_receiver")
AGAIN = "run `make atlas`, or the part of it that changed, and read the difference"


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(name, id=name, marks=pytest.mark.broker(TRIALS[name].broker))
        for name in (TRIALS if os.environ.get("ATLAS") == "all" else QUICK)
    ],
)
def test_confirmed_work_outlives_its_leader_as_the_pattern_promises(pattern: str) -> None:
    demand()
    seen = asyncio.run(run_pattern(pattern))["seen"]
    assert set(seen) == set(TRIALS[pattern].names())


def test_every_pattern_has_a_trial() -> None:
    folders = {folder.name for folder in (ROOT / "snippets" / "patterns").iterdir()}
    assert set(TRIALS) == {name for name in folders if not name.startswith("_")}


def test_the_record_is_of_the_codes_words() -> None:
    recorded = json.loads(FILE.read_text())
    schema = json.loads((DATA / "schema" / "atlas" / "patterns.json").read_text())
    jsonschema.validate(recorded, schema)
    assert list(recorded) == list(TRIALS), AGAIN
    for name, trial in TRIALS.items():
        said = described(trial)
        assert {key: recorded[name][key] for key in said} == said, AGAIN
        assert all(set(run) == set(trial.names()) for run in recorded[name]["runs"]), AGAIN
