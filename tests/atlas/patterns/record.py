"""What the patterns' trials in clusters showed, for docs/data/atlas/patterns.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.atlas.patterns.trial import Trial
from tests.atlas.patterns.trials import TRIALS
from tests.records import DATA

FILE = DATA / "atlas" / "patterns.json"


def described(trial: Trial) -> dict[str, Any]:
    """Return what the page says of a trial, without what its runs gave."""
    said = asdict(trial) | {"test": trial.test}
    del said["run"]
    return said


def write(rows: Iterable[dict[str, Any]], file: Path = FILE) -> None:
    """Keep the rows of trials, several of one trial as its runs. What the code has not leaves."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    fresh: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        fresh.setdefault(row["pattern"], []).append(row)
    if not fresh:
        return
    today = datetime.now(UTC).date().isoformat()
    for pattern, its in fresh.items():
        kept[pattern] = described(TRIALS[pattern]) | {
            "taken": today,
            "server": its[-1]["server"],
            "client": its[-1]["client"],
            "took": round(sum(row["took"] for row in its) / len(its)),
            "runs": [row["seen"] for row in its],
        }
    found = {pattern: kept[pattern] for pattern in TRIALS if pattern in kept}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    new.replace(file)
