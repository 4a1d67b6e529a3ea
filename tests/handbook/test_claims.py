"""A page's claims: the line, what stands in its place, and what is then seen; and the promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

from handbook import page
from handbook.directives import claims, matrix, support
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


def experiments(project: Project) -> list[Tag]:
    return BeautifulSoup(claims.experiments(project, TOPIC), "html.parser").select(".experiment")


def words(element: Tag) -> str:
    return " ".join(element.get_text().split())


def test_a_line_has_beside_it_what_is_seen_without_it(project: Project) -> None:
    proofs = [
        proof("ack(\n    number)", "pass", seen="The task is done `twice`."),
        proof("keep()", "", seen="The task is gone."),
    ]
    names = ["test_done", "test_kept"]
    record(
        project,
        *(entry(name, promise=False, redis=one) for name, one in zip(names, proofs, strict=True)),
    )
    done, kept = (each.select("details > *") for each in experiments(project))
    assert [words(each) for each in done] == [
        "Without the line: The task is done twice.",
        "Redis Streams: lines 1 to 2 ack( number) Changed to pass: The task is done twice.",
    ]
    assert [words(each) for each in kept] == [
        "Without the line: The task is gone.",
        "Redis Streams: line 3 keep() Taken out: The task is gone.",
    ]


def test_what_differs_stands_out_and_what_holds_everywhere_is_quiet(project: Project) -> None:
    (project.root / "snippets/patterns/queue/on_kafka.py").write_text("keep()\n")
    gone = proof("keep()", "pass", seen="The task is gone.")
    twice = proof("keep()", "pass", seen="The task is done twice.")
    other = {**proof("", ""), "holds": False, "says": "The task waits."}
    record(
        project,
        entry("test_done", promise=True, redis=gone, kafka=gone),
        entry("test_kept", promise=False, redis=gone, kafka=other),
        entry("test_done", promise=False, redis=gone, kafka=twice),
        entry("test_done", promise=False, redis=gone, kafka={**gone, "says": "Late."}),
    )
    shown = experiments(project)
    assert ["quiet" in (each.get("class") or []) for each in shown] == [False, False, False, True]
    assert shown[0]["id"] == "kept"
    assert words(shown[0].select(".experiment-marks")[0]) == (
        "≠ Kafka differs ✓ Redis Streams holds"
    )
    assert words(shown[0].select(".claims-notes")[0]) == "Kafka: The task waits."
    assert words(shown[1].select("summary")[0]) == (
        "Without the line: The task is done twice. On Redis Streams: The task is gone."
    )
    assert words(shown[3].select(".experiment-marks")[0]) == "✓ holds on all 2 brokers"


def test_a_line_that_is_gone_names_the_claim_and_the_remedy(project: Project) -> None:
    record(project, entry("test_done", promise=True, redis=proof("lose()", "pass", seen="…")))
    with pytest.raises(EvidenceError, match=r"test_done: 'lose\(\)'. Correct it .*make record"):
        experiments(project)


def test_the_matrix_leads_to_each_claim(project: Project) -> None:
    differs = {**proof("", ""), "holds": False, "says": "The task waits."}
    record(
        project,
        entry("test_done", promise=True, redis=proof("keep()", "pass"), kafka=differs),
    )
    shown = BeautifulSoup(matrix.table(project, TOPIC), "html.parser")
    cells = {cell["data-for"]: cell for cell in shown.select("tbody td")}
    assert words(cells["redis"]) == "✓ Redis: holds"
    assert words(cells["kafka"]) == "≠ Kafka: differs"
    assert words(cells["nats"]) == "NATS: not run"
    assert [link["href"] for link in shown.select("td a")] == ["queue/#done", "queue/#done"]
    assert [each["value"] for each in shown.select("option")] == ["", TOPIC]


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
