"""What `make atlas` recorded in docs/data/atlas/: a file a broker, and a history a cell."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handbook.brokers import BROKERS, Broker
from handbook.evidence import EvidenceError

FOLDER = "docs/data/atlas"
#: Brokers that have no cluster: what there is instead, and the page that says more.
ALONE = {
    "mqtt": (
        "There is no cluster. A bridge copies messages to another server, and not the sessions with"
        " what waits in them.",
        "types/beyond-one-cluster.md#mqtt-on-several-servers",
    )
}


@dataclass(frozen=True)
class Question:
    """What is asked, and what is done to the cluster for it."""

    key: str
    group: str
    asks: str
    what: str


@dataclass(frozen=True)
class Setting:
    """One way to run a broker, by the names of its options."""

    key: str
    label: str
    default: bool
    safe: bool


@dataclass(frozen=True)
class Cell:
    """What was seen in the runs of one question, and the file with the history of the last."""

    runs: Sequence[dict[str, float]]
    taken: str
    history: str

    def values(self, name: str) -> list[float]:
        """Return a number of each run."""
        return [run[name] for run in self.runs]

    @property
    def loses(self) -> bool:
        """Whether confirmed messages were lost in any run."""
        return any(self.values("lost"))


@dataclass(frozen=True)
class Asked:
    """A broker, its settings, and its cells by setting and question."""

    broker: Broker
    server: str
    client: str
    settings: Sequence[Setting]
    cannot: dict[str, str]
    by_hand: dict[str, str]
    cells: dict[tuple[str, str], Cell]


def span(values: Sequence[float], digits: int = 0) -> str:
    """Return the least and the greatest of some numbers, or the one that they all are."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def questions(root: Path) -> dict[str, Question]:
    """Return all questions, in the order of the pages."""
    found = read(root / FOLDER / "questions.json")
    return {key: Question(key, **said) for key, said in found.items()}


def asked(root: Path) -> list[Asked]:
    """Return the brokers that were asked, in the order of the pages."""
    return [
        _asked(root, broker)
        for broker in BROKERS
        if (root / FOLDER / f"{broker.key}.json").is_file()
    ]


def _asked(root: Path, broker: Broker) -> Asked:
    content = read(root / FOLDER / f"{broker.key}.json")
    cells = {
        (setting, question): Cell(
            cell["runs"], cell["taken"], f"data/atlas/{broker.key}/{setting}/{question}.jsonl.gz"
        )
        for setting, found in content["cells"].items()
        for question, cell in found.items()
    }
    return Asked(
        broker,
        content["server"],
        content["client"],
        [Setting(key, **said) for key, said in content["settings"].items()],
        content["cannot"],
        content.get("by_hand", {}),
        cells,
    )


def confirms(root: Path, cell: Cell) -> tuple[list[float], dict[str, float]]:
    """Return when messages were confirmed, and when each event was, in seconds from the start."""
    lines = [
        json.loads(line)
        for line in gzip.decompress((root / "docs" / cell.history).read_bytes()).splitlines()
    ]
    times = sorted(line["ended"] for line in lines if line.get("outcome") == "confirmed")
    return times, {line["event"].partition(":")[0]: line["at"] for line in lines if "event" in line}


def read(file: Path) -> dict[str, Any]:
    """Return what a file of the record says."""
    if not file.is_file():
        raise EvidenceError(f"{FOLDER}/{file.name} is missing: `make atlas` writes it")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise EvidenceError(f"{FOLDER}/{file.name}:{error.lineno}: {error.msg}") from None
