"""A page's claims: the line, what stands in its place, and what is then seen; and the promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from handbook import page
from handbook.directives import claims, support
from handbook.directives.project import Project
from handbook.evidence import EvidenceError

TOPIC = "patterns/queue"


def proof(line: str, instead: str, **more: Any) -> dict[str, Any]:
    return {"holds": True, "says": "", "line": line, "instead": instead, "with_help": "", **more}


def entry(name: str, *, promise: bool, **brokers: dict[str, Any]) -> dict[str, Any]:
    what = {"id": name, "claim": "Each task is done.", "promise": promise}
    return {**what, "test": "tests/patterns/test_queue.py", "brokers": brokers}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one pattern, on one broker."""
    files = {
        "snippets/patterns/queue/on_redis.py": "ack(\n    number)\nkeep()\n",
        "tests/patterns/test_queue.py": "def test_done(): ...\ndef test_kept(): ...\n",
        "docs/patterns/queue.md": "# Queue\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "docs" / "data").mkdir()
    monkeypatch.setattr(page, "current", page.Page("patterns/index.md"))
    return Project(tmp_path, "https://site/", "https://source")


def record(project: Project, *entries: dict[str, Any]) -> None:
    file = project.root / "docs" / "data" / "claims.json"
    file.write_text(json.dumps({TOPIC: entries}))


def test_a_line_has_beside_it_what_is_seen_without_it(project: Project) -> None:
    proofs = [
        proof("ack(\n    number)", "pass", seen="The task is done `twice`."),
        proof("keep()", "", seen="The task is gone."),
        proof("keep()", "drop()"),
    ]
    names = ["test_done", "test_kept", "test_done"]
    record(
        project,
        *(entry(name, promise=False, redis=one) for name, one in zip(names, proofs, strict=True)),
    )
    shown = BeautifulSoup(claims.table(project, TOPIC), "html.parser")
    said = [" ".join(each.get_text(" ").split()) for each in shown.select("details li")]
    assert said == [
        "Redis Streams: lines 1 to 2 ack( number) Changed to pass : The task is done twice .",
        "Redis Streams: line 3 keep() Taken out: The task is gone.",
        "Redis Streams: line 3 keep() Changed to drop() : The test fails.",
    ]


def test_the_promise_of_a_pattern_is_the_claim_that_is_marked(project: Project) -> None:
    """Wherever it stands: here it is the second, and the first would say *native*."""
    helped = proof("keep()", "pass", with_help="a table")
    record(
        project,
        entry("test_done", promise=False, redis=proof("keep()", "pass")),
        entry("test_kept", promise=True, redis=helped),
    )
    html = support.table(project, TOPIC)
    assert "with help" in html
    assert "native" not in html


@pytest.mark.parametrize(("marks", "count"), [((False, False), 0), ((True, True), 2)])
def test_a_pattern_has_one_promise(project: Project, marks: tuple[bool, bool], count: int) -> None:
    record(
        project,
        *(entry(f"test_{mark}", promise=mark, redis=proof("keep()", "pass")) for mark in marks),
    )
    with pytest.raises(EvidenceError, match=rf"marks {count} claims .*promise=True"):
        support.table(project, TOPIC)
