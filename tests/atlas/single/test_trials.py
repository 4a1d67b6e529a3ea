"""Each trial asserts what the atlas says of it; each run of the tests tries the quickest.

All trials: `ATLAS=all`, which `make atlas` sets, and three times each to record them.
"""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.atlas.single.questions import QUESTIONS
from tests.atlas.single.record import FILE, noted
from tests.atlas.single.trial import Trial, load
from tests.brokers import Server
from tests.conftest import Servers, emptied

RUNS = int(os.environ.get("ATLAS_RUNS", "1"))


def quickest() -> set[str]:
    """Return the trial of each group and broker that took the least time when it was recorded."""
    recorded = json.loads(FILE.read_text())["trials"] if FILE.exists() else {}
    found: dict[tuple[str, str], str] = {}
    for key, one in sorted(recorded.items(), key=lambda item: float(item[1]["took"])):
        found.setdefault((QUESTIONS[one["question"]].group, one["broker"]), key)
    return set(found.values())


def chosen() -> list[Trial]:
    every = load()
    if os.environ.get("ATLAS") == "all":
        return [*every.values()]
    quick = quickest()
    return [one for key, one in every.items() if key in quick]


@pytest.mark.parametrize(
    "trial",
    [pytest.param(one, id=one.key, marks=pytest.mark.broker(one.broker)) for one in chosen()],
)
def test_a_trial_shows_what_its_sentence_says(
    trial: Trial, server: Server, servers: Servers, request: pytest.FixtureRequest
) -> None:
    runs, began = [], time.monotonic()
    for count in range(RUNS):
        if count:
            emptied(servers, trial.broker)
        runs.append(trial.run(server))
        assert set(runs[-1]) == trial.names(), "its sentences show other numbers"
    took = (time.monotonic() - began) / RUNS
    said = noted(trial, server.version(), took, runs)
    request.node.user_properties.append(("trial", said))
