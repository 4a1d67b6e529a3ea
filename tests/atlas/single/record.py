"""What the trials on one server showed, for docs/data/atlas/single.json.

`--update` writes what ran and passed, and nothing else. What the code no longer asks leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.atlas.single.questions import QUESTIONS
from tests.atlas.single.trial import CANNOT, TRIALS, Numbers, Trial, load
from tests.records import DATA, clients

FILE = DATA / "atlas" / "single.json"


def described(trial: Trial) -> dict[str, Any]:
    """Return what the page says of a trial, without what its runs gave."""
    said = asdict(trial) | {"test": trial.test}
    del said["run"]
    return said


def questions() -> dict[str, Any]:
    """Return what the page says of each question."""
    load()
    return {
        one.key: {
            "group": one.group,
            "asks": one.asks,
            "what": one.what,
            "cannot": {broker: why for (key, broker), why in CANNOT.items() if key == one.key},
        }
        for one in QUESTIONS.values()
    }


class Trials:
    """The trials of one run of the tests."""

    def __init__(self, *, update: bool, file: Path = FILE) -> None:
        self.update = update
        self.file = file
        self.noted: dict[str, dict[str, Any]] = {}

    def note(self, properties: Mapping[str, object], outcome: str) -> None:
        """Take in one report: what the runs of a trial counted."""
        said = properties.get("trial")
        if isinstance(said, dict) and outcome == "passed":
            self.noted[said["key"]] = said

    def settle(self) -> None:
        """Write the file, if that is wanted."""
        if not (self.update and self.noted):
            return
        before = json.loads(self.file.read_text()) if self.file.exists() else {}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.merged(before), indent=1, ensure_ascii=False) + "\n")
        new.replace(self.file)

    def merged(self, before: dict[str, Any]) -> dict[str, Any]:
        """Return the record with what this run showed in it, and without what is gone.

        Of questions that did not run, all is kept: another process may have recorded them since
        this one read the code.
        """
        trials = before.get("trials", {})
        today = datetime.now(UTC).date().isoformat()
        known = load()
        for key, said in self.noted.items():
            trials[key] = described(known[key]) | {
                "taken": today,
                "server": said["server"],
                "client": clients()[known[key].broker],
                "took": said["took"],
                "runs": said["runs"],
            }
        ran = {known[key].question for key in self.noted}
        kept = before.get("questions", {})
        order = list(QUESTIONS)
        there = [
            key
            for key, one in trials.items()
            if key in TRIALS or one["question"] in QUESTIONS.keys() - ran
        ]
        places = {key: place for place, key in enumerate(TRIALS)}
        there.sort(key=lambda key: (order.index(trials[key]["question"]), places.get(key, 0)))
        return {
            "questions": {
                key: said if key in ran else kept.get(key, said)
                for key, said in questions().items()
            },
            "trials": {key: trials[key] for key in there},
        }


def noted(trial: Trial, server: str, took: float, runs: list[Numbers]) -> dict[str, Any]:
    """Return what the record needs, in the types that go from process to process."""
    return {
        "key": trial.key,
        "server": server,
        "took": round(took, 1),
        "runs": [{name: round(float(value), 2) for name, value in run.items()} for run in runs],
    }
