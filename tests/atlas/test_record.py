"""docs/data/atlas/ says what the code asks, and its verdicts are those of its histories."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.atlas.brokers import ASKED
from tests.atlas.checker import check
from tests.atlas.history import Call, History
from tests.atlas.questions import QUESTIONS
from tests.atlas.record import FOLDER, described, differs, questions, write
from tests.atlas.run import cells
from tests.records import DATA

RECORDED = [key for key in ASKED if (FOLDER / f"{key}.json").exists()]
AGAIN = "run `make atlas`, or the part of it that changed, and read the difference"


def recorded(broker: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{broker}.json").read_text())
    return content


def test_questions_are_those_of_the_code() -> None:
    assert json.loads((FOLDER / "questions.json").read_text()) == questions(), AGAIN


@pytest.mark.parametrize("broker", RECORDED)
def test_every_cell_is_recorded_in_the_codes_words(broker: str) -> None:
    content = recorded(broker)
    said = described(broker)
    assert {key: content[key] for key in said} == said, AGAIN
    there = {
        (broker, setting, question)
        for setting, found in content["cells"].items()
        for question in found
    }
    assert there == set(cells([broker])), AGAIN


@pytest.mark.parametrize("broker", RECORDED)
def test_the_record_has_the_form_that_its_schema_says(broker: str) -> None:
    schema = json.loads((DATA / "schema" / "atlas.json").read_text())
    checker = jsonschema.Draft202012Validator
    checker.check_schema(schema)
    checker(schema).validate(recorded(broker))


@pytest.mark.parametrize("broker", RECORDED)
def test_every_verdict_is_that_of_its_history(broker: str) -> None:
    kept = set()
    for setting, found in recorded(broker)["cells"].items():
        for question, cell in found.items():
            file = FOLDER / broker / setting / f"{question}.jsonl.gz"
            kept.add(file)
            verdict = asdict(check(History.unpacked(file.read_bytes())))
            last = cell["runs"][-1]
            assert verdict == {key: last[key] for key in verdict}, file
            for run in cell["runs"]:
                assert run["refused_there"] == run["strangers"] == 0, file
                if question == "none":
                    assert run["lost"] == 0, file
    assert kept == set((FOLDER / broker).rglob("*.gz")), "a history of no cell: remove it"


#: What docs/atlas/index.md says in its own words, of whole rows: whether a cell loses.
STANDS_OUT = {
    ("rabbitmq", "classic", "all-power"): True,
    ("rabbitmq", "quorum", "all-power"): False,
    ("rabbitmq", "quorum", "leader-power"): False,
    ("kafka", "acks-1", "leader-cut-off"): True,
    ("kafka", "acks-all", "all-power"): True,
    ("nats", "r3", "leader-cut-off"): False,
    ("nats", "r3", "leader-power"): False,
    ("nats", "r3", "all-power"): True,
    ("redis", "snapshots", "leader-cut-off"): True,
    ("redis", "snapshots", "majority-killed"): True,
    ("redis", "plain", "leader-cut-off"): True,
    ("redis", "min-replicas", "leader-cut-off"): True,
    ("redis", "wait", "leader-cut-off"): False,
    **dict.fromkeys((("redis", "waitaof", question) for question in QUESTIONS), False),
    ("postgresql", "async", "leader-cut-off"): True,
    ("postgresql", "sync", "leader-cut-off"): False,
}
#: Of these it says that no call failed while the leader was cut off, and that all was lost.
NO_NOISE = (
    ("kafka", "acks-1"),
    ("redis", "snapshots"),
    ("redis", "plain"),
    ("postgresql", "async"),
)


@pytest.mark.parametrize("cell", STANDS_OUT, ids="-".join)
def test_what_stands_out_on_the_page_is_recorded(cell: tuple[str, str, str]) -> None:
    broker, setting, question = cell
    if broker not in RECORDED:
        pytest.skip(f"{broker} is not recorded yet")
    runs = recorded(broker)["cells"][setting][question]["runs"]
    assert {run["lost"] > 0 for run in runs} == {STANDS_OUT[cell]}, "change the page's sentence"
    if cell == ("kafka", "acks-1", "leader-cut-off"):
        assert not any(run["refused"] + run["unknown"] for run in runs), "it saw errors"
    if cell == ("nats", "r3", "leader-cut-off"):
        assert all(run["whole"] > run["gap"] > 1 for run in runs), "it was in step sooner"


@pytest.mark.parametrize(("broker", "setting"), NO_NOISE)
def test_the_worst_loss_makes_no_noise(broker: str, setting: str) -> None:
    if broker not in RECORDED:
        pytest.skip(f"{broker} is not recorded yet")
    file = FOLDER / broker / setting / "leader-cut-off.jsonl.gz"
    history = History.unpacked(file.read_bytes())
    began, ended = (event.at for event in history.events)
    meanwhile = [call for call in history.calls if began < call.began and call.ended < ended]
    assert {call.outcome for call in meanwhile} == {"confirmed"}, "change the page's sentence"
    lost = [call.message for call in meanwhile if call.message not in history.read]
    # Kafka's client went over to the new leader, and what it sent from then on was kept.
    assert lost == [call.message for call in meanwhile[: len(lost)]]
    assert len(lost) > 400


def row(question: str, lost: int) -> dict[str, Any]:
    """Return the row of a cell with one message."""
    history = History([Call(0, 0.0, "confirmed", 0.1)], [], [] if lost else [0], 1.0)
    return {
        "broker": "nats",
        "setting": "r3",
        "question": question,
        "server": "NATS 2",
        "client": "nats-py 2",
        "took": 1,
        "seen": {**asdict(check(history)), "whole": 0.1},
        "history": base64.b64encode(history.packed()).decode(),
    }


def test_a_cell_that_ran_takes_its_place_and_leaves_the_others(tmp_path: Path) -> None:
    write([row("none", 0), row("leader-killed", 1)], tmp_path)
    write([row("leader-killed", 0), row("leader-killed", 0)], tmp_path)
    found = json.loads((tmp_path / "nats.json").read_text())["cells"]["r3"]
    assert [key for key in QUESTIONS if key in found] == list(found) == ["none", "leader-killed"]
    assert [run["lost"] for run in found["leader-killed"]["runs"]] == [0, 0]
    assert (tmp_path / "nats" / "r3" / "leader-killed.jsonl.gz").exists()


def test_a_verdict_that_differs_from_the_record_is_named(tmp_path: Path) -> None:
    assert not differs(row("none", 1), tmp_path)
    write([row("none", 0), row("leader-killed", 1), row("leader-killed", 0)], tmp_path)
    assert not differs(row("none", 0), tmp_path)
    said = "nats r3 none: it loses, and kept when recorded"
    assert differs(row("none", 1), tmp_path) == said
    for lost in (0, 1):
        assert not differs(row("leader-killed", lost), tmp_path)
