"""The page of how the handbook is checked counts what is there, and lists what is published."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from handbook.directives import checked
from handbook.directives.project import Project
from handbook.evidence import EvidenceError

VERDICT = {"holds": True, "says": "", "with_help": "", "line": "a", "instead": "b", "seen": "c"}
CLAIM = {"id": "test_a", "claim": "A.", "promise": True, "test": "tests/test_a.py"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    files = {
        "docs/data/claims.json": json.dumps(
            {"a": [CLAIM | {"brokers": {"redis": VERDICT, "nats": VERDICT | {"instead": None}}}]}
        ),
        "docs/data/versions.json": json.dumps(
            {"redis": {"server": "Redis 8.0.6", "stable": "Redis 8.0.2", "client": "redis"}}
        ),
        "docs/data/errors/redis.json": json.dumps(
            {"crossslot": [{"text": "CROSSSLOT", "client": "redis", "seen": {"any": {}}}]}
        ),
        "docs/page.md": "```python\nprint(1)\n#> 1\n```\n\n```text\nno\n```\n",
        "snippets/a/on_redis.py": "",
        "snippets/a/on_redis.out": "",
        "snippets/a/idle.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return Project(tmp_path, "", "https://repository.invalid")


def test_it_counts(project: Project) -> None:
    """Before mutants and faults are recorded, it does not speak of them."""
    text = checked.table(project, "")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = dict(line.strip("| ").split(" | ")[:2] for line in lines)
    assert rows["Snippets that ran, their output compared byte for byte"] == "1"
    assert rows["Short blocks on pages that ran, what they print compared"] == "1"
    assert rows["Tests of them, one for each broker"] == "2"
    assert rows["Tests that failed as the page says when a line of the snippet was changed"] == "1"
    assert rows["Errors that a test provoked, their texts compared"] == "1"
    servers = checked.table(project, "servers").splitlines()
    assert servers[-1] == "| Redis 8.0.6 | Redis 8.0.2 | redis |"
    assert set(servers) <= set(text.splitlines())
    assert not [row for row in rows if re.search("Faults|random|clusters", row)]


def test_it_counts_clusters_and_cells_that_lose(project: Project) -> None:
    runs = [{"lost": 0}, {"lost": 3}]
    cells = {"r3": {"a": {"taken": "", "runs": runs}, "b": {"taken": "", "runs": runs[:1]}}}
    asked = {"server": "", "client": "", "settings": {}, "cannot": {}, "cells": cells}
    (project.root / "docs/data/atlas").mkdir()
    (project.root / "docs/data/atlas/nats.json").write_text(json.dumps(asked), encoding="utf-8")
    text = checked.table(project, "")
    assert "| Runs of clusters of three, their histories checked | 3 |" in text
    assert "| Cells of the atlas in which confirmed messages were lost | 1 of 2 |" in text
    single = project.root / "docs/data/atlas/single.json"
    single.write_text(json.dumps({"trials": {"too-long-nats": {}}}), encoding="utf-8")
    text = checked.table(project, "")
    assert "| Answers of one server, each asserted by a test | 1 |" in text


def test_it_counts_mutants(project: Project) -> None:
    score = {"drawn": 200, "noticed": 180, "explained": ["x"] * 19, "survived": ["y"]}
    (project.root / checked.MUTANTS).write_text(json.dumps({"7": score}), encoding="utf-8")
    said = "180 of 200, and 19 with a reason that is listed; 1 with none yet |"
    assert f"(seed 7) that a test noticed | {said}" in checked.table(project, "")


def test_a_wrong_argument_is_refused(project: Project) -> None:
    with pytest.raises(EvidenceError, match="takes nothing, `files` or `servers`"):
        checked.table(project, "file")
