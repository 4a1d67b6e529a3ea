"""What the atlas keeps: docs/data/atlas/, a file a broker, and a history a cell.

A cell that ran takes the place of what was kept of it. What the code no longer asks leaves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.atlas.brokers import ASKED
from tests.atlas.questions import QUESTIONS
from tests.records import DATA

FOLDER = DATA / "atlas"


def questions() -> dict[str, Any]:
    """Return what the page says of each question."""
    return {
        one.key: {"group": one.group, "asks": one.asks, "what": one.what}
        for one in QUESTIONS.values()
    }


def described(broker: str) -> dict[str, Any]:
    """Return what the page says of a broker's settings, of what can't be asked, and by hand."""
    asked = ASKED[broker]
    return {
        "settings": {
            one.key: {"label": one.label, "default": one.default, "safe": one.safe}
            for one in asked.settings
        },
        "cannot": dict(asked.cannot),
        "by_hand": dict(asked.by_hand),
    }


def write(rows: Iterable[dict[str, Any]], folder: Path = FOLDER) -> None:
    """Keep these rows of cells, several of one cell as its runs, and the history of the last."""
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "questions.json", questions())
    by_broker: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_broker.setdefault(row["broker"], []).append(row)
    for broker, its in by_broker.items():
        file = folder / f"{broker}.json"
        before = json.loads(file.read_text())["cells"] if file.exists() else {}
        _dump(
            file,
            {
                "server": its[-1]["server"],
                "client": its[-1]["client"],
                **described(broker),
                "cells": _cells(broker, its, before),
            },
        )
        for row in its:
            history = folder / broker / row["setting"] / f"{row['question']}.jsonl.gz"
            history.parent.mkdir(parents=True, exist_ok=True)
            history.write_bytes(base64.b64decode(row["history"]))


def differs(row: dict[str, Any], folder: Path = FOLDER) -> str:
    """Return how the verdict of a row differs from what is kept of its cell; nothing if it fits.

    A cell of which some runs have lost and others have not fits both.
    """
    file = folder / f"{row['broker']}.json"
    kept = json.loads(file.read_text())["cells"] if file.exists() else {}
    runs = kept.get(row["setting"], {}).get(row["question"], {}).get("runs", [])
    verdicts = {run["lost"] > 0 for run in runs}
    if not verdicts or (row["seen"]["lost"] > 0) in verdicts:
        return ""
    now, then = ("loses", "kept") if row["seen"]["lost"] else ("keeps", "lost")
    return f"{row['broker']} {row['setting']} {row['question']}: it {now}, and {then} when recorded"


def _cells(broker: str, rows: list[dict[str, Any]], before: dict[str, Any]) -> dict[str, Any]:
    today = datetime.now(UTC).date().isoformat()
    fresh: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        seen = {"took": row["took"], **row["seen"]}
        fresh.setdefault((row["setting"], row["question"]), []).append(seen)
    cells: dict[str, Any] = {}
    for setting in (one.key for one in ASKED[broker].settings):
        for question in QUESTIONS:
            if runs := fresh.get((setting, question)):
                cell = {"taken": today, "runs": runs}
            elif not (cell := before.get(setting, {}).get(question, {})):
                continue
            cells.setdefault(setting, {})[question] = cell
    return cells


def _dump(file: Path, content: dict[str, Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    new.replace(file)
