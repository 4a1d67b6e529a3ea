"""What a snippet survives: a table a broker, and one line under the snippet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from markdown import markdown

from handbook import page
from handbook.directives import survival
from handbook.directives.code import file
from handbook.directives.project import Project
from handbook.evidence import EvidenceError

CODE = """async def send(redis): ...


class Jobs:
    async def work(self): ...
"""
ENDED = {"verdict": "ends", "text": "OSError: it's <gone>", "seconds": 40}
RECORD = {
    "servers": {"redis": "Redis 8.0"},
    "faults": {
        "cut": "the connections are cut",
        "made_again": "its queue is deleted, and made again",
        "sigterm": "SIGTERM in the middle of work",
        "too_large": "it sends more than the broker takes",
    },
    "functions": {
        "patterns/queue/on_redis send": {
            "kind": "publisher",
            "faults": {"cut": {"verdict": "goes on", "text": "", "seconds": 10}},
        },
        "patterns/queue/on_redis Jobs.work": {
            "kind": "consumer",
            "faults": {
                "cut": ENDED,
                "made_again": ENDED,
                "sigterm": {"verdict": "leaves in order", "text": "", "seconds": 10},
            },
        },
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one snippet, and a page that shows it."""
    folder = tmp_path / "snippets" / "patterns" / "queue"
    folder.mkdir(parents=True)
    (folder / "on_redis.py").write_text(CODE)
    (folder / "on_redis.out").write_text("done\n")
    (tmp_path / "docs" / "data").mkdir(parents=True)
    monkeypatch.setattr(page, "current", page.Page("patterns/queue.md"))
    return Project(tmp_path, "https://site/", "https://source")


def record(project: Project, content: dict[str, Any]) -> None:
    (project.root / "docs" / "data" / "survival.json").write_text(json.dumps(content))


def test_a_table_says_what_each_function_does_in_each_fault(project: Project) -> None:
    """Marks are for the eye; their words are there for whoever hears the page."""
    record(project, RECORD)
    html = markdown(survival.expand(project, ""))
    shown = BeautifulSoup(html, "html.parser")
    assert [each.text for each in shown.find_all("h2")] == ["Redis Streams"]
    assert "2 functions, on Redis 8.0. Not recorded here: too large." in shown.text
    heads = [each.text for each in shown.select("thead th")]
    assert heads == ["Function", "cut", "made again", "SIGTERM"]
    cells = {
        body["id"]: [" ".join(each.text.split()) for each in body.select("tr:first-child td")]
        for body in shown.select("tbody")
    }
    assert cells == {
        "patterns-queue-on_redis-send": [
            "cut: ✓ goes on 10 s",
            "made again: · no verdict",
            "SIGTERM: · no verdict",
        ],
        "patterns-queue-on_redis-jobs-work": [
            "cut: ↻ ends 40 s",
            "made again: ↻ ends 40 s",
            "SIGTERM: ✓ leaves in order 10 s",
        ],
    }
    assert all(each["aria-hidden"] == "true" for each in shown.select(".claims-mark"))
    [said] = shown.select("details li")
    assert said.text == "cut, made again: OSError: it's <gone>"
    links = [each["href"] for each in shown.select("th a")]
    assert links == [
        "https://source/blob/main/snippets/patterns/queue/on_redis.py#L1",
        "https://source/blob/main/snippets/patterns/queue/on_redis.py#L5",
    ]


def test_the_faults_are_said_as_the_tests_say_them(project: Project) -> None:
    record(project, RECORD)
    assert "| made again | its queue is deleted, and made again |" in survival.expand(
        project, "faults"
    )


def test_a_line_under_a_snippet_leads_to_its_rows(project: Project) -> None:
    record(project, RECORD)
    shown = BeautifulSoup(markdown(file(project, "patterns/queue/on_redis.py")), "html.parser")
    assert (
        "Survives: send() goes on in 1 fault; "
        "Jobs.work() ends with an exception in 2 faults, leaves in order" in shown.text
    )
    rows = BeautifulSoup(survival.expand(project, ""), "html.parser").select("tbody")
    assert [each["href"] for each in shown.select("span a[href*=survival]")] == [
        f"../../best-practices/survival/#{row['id']}" for row in rows
    ]
    part = file(project, "patterns/queue/on_redis.py Jobs")
    assert "Jobs.work()" in part
    assert "send()" not in part


def test_there_is_no_line_where_nothing_is_recorded(project: Project) -> None:
    assert "Survives" not in file(project, "patterns/queue/on_redis.py")
    record(project, {**RECORD, "functions": {}})
    assert "Survives" not in file(project, "patterns/queue/on_redis.py")


def test_a_record_that_does_not_fit_says_what_to_do(project: Project) -> None:
    with pytest.raises(EvidenceError, match="make record"):
        survival.expand(project, "")
    record(project, {"functions": []})
    with pytest.raises(EvidenceError, match="make record"):
        survival.expand(project, "")
    record(project, RECORD)
    with pytest.raises(EvidenceError, match="'redis'"):
        survival.expand(project, "redis")
    (project.snippets / "patterns" / "queue" / "on_redis.py").write_text("")
    with pytest.raises(EvidenceError, match="names send"):
        survival.expand(project, "")
