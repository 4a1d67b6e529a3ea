"""docs/data/atlas/single.json has every trial, and says what the code says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handbook.brokers import BROKERS
from tests.atlas.single.questions import QUESTIONS
from tests.atlas.single.record import FILE, described, questions
from tests.atlas.single.trial import CANNOT, TRIALS, load

RECORDED: dict[str, Any] = json.loads(FILE.read_text())
AGAIN = 'run `make atlas ARGS="--question …"`, and read the difference before you commit it'


def test_every_trial_is_recorded_in_the_codes_words() -> None:
    ran = {"taken", "server", "client", "took", "runs"}
    said = {
        key: {name: value for name, value in one.items() if name not in ran}
        for key, one in RECORDED["trials"].items()
    }
    assert said == {key: described(one) for key, one in load().items()}, AGAIN


def test_questions_are_those_of_the_code() -> None:
    assert RECORDED["questions"] == questions(), AGAIN


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_broker_is_asked_or_has_its_reason(question: str) -> None:
    asked = {one.broker for one in load().values() if one.question == question}
    excused = {broker for key, broker in CANNOT if key == question}
    assert asked | excused == {broker.key for broker in BROKERS if broker.variable}


def test_a_recorded_run_has_the_numbers_of_its_sentences() -> None:
    for key, one in RECORDED["trials"].items():
        assert all(run.keys() == TRIALS[key].names() for run in one["runs"]), key
