"""The idea of a pattern, and the functions that stand above a folded file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handbook import page
from handbook.directives import code, idea
from handbook.directives.project import Project
from handbook.snippet import Snippet, SnippetError

HEAD = '# /// script\n# ///\n"""{}"""\n\n'
FAILS = HEAD.format("It fails.") + "def work():\n    ack()\n    load()\n    transcode()\n"
WORKS = HEAD.format("It works.") + "def work():\n    load()\n    transcode()\n    ack()\n"
SERVICE = """import os

from client import connect


def work():
    connect()
    ack()


def submit():
    os.environ["REDIS_URL"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with the idea of one pattern, and its file for one broker."""
    verdict = {"holds": True, "says": "", "line": "    ack()", "instead": "", "with_help": ""}
    claim = {"id": "test_done", "claim": "Done.", "promise": True, "test": "tests/test_queue.py"}
    files = {
        "snippets/patterns/queue/idea_fails.py": FAILS,
        "snippets/patterns/queue/idea_fails.out": "cat.mp4 is lost\n",
        "snippets/patterns/queue/idea.py": WORKS,
        "snippets/patterns/queue/idea.out": "cat.mp4 is done\n",
        "snippets/patterns/queue/on_redis.py": SERVICE,
        "snippets/patterns/queue/on_redis.out": "done\n",
        "snippets/client.py": "def connect():\n    return 1\n",
        "docs/data/claims.json": json.dumps(
            {"patterns/queue": [{**claim, "brokers": {"redis": verdict}}]}
        ),
        "docs/data/versions.json": json.dumps({"redis": {"server": "Redis 8", "client": "redis"}}),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(page, "current", page.Page("patterns/queue.md"))
    return Project(tmp_path, "https://site/", "https://source")


def test_the_lines_that_differ_are_marked_but_not_the_docstrings(project: Project) -> None:
    files = (
        Snippet(project.snippets, f"patterns/queue/{name}.py") for name in ("idea_fails", "idea")
    )
    assert idea.changes(*files) == ([6], [8])


def test_both_versions_are_shown_whole_with_what_they_print(project: Project) -> None:
    shown = idea.expand(project, "patterns/queue")
    assert FAILS in shown
    assert WORKS in shown
    places = [shown.index(text) for text in (FAILS, "cat.mp4 is lost", WORKS, "cat.mp4 is done")]
    assert places == sorted(places)
    assert 'download="queue_idea.py"' in shown


def test_an_idea_without_a_difference_is_refused(project: Project) -> None:
    (project.snippets / "patterns/queue/idea.py").write_text(FAILS.replace("fails", "works"))
    with pytest.raises(SnippetError, match=r"idea\.py has no line that idea_fails\.py does not"):
        idea.expand(project, "patterns/queue")


def test_a_missing_version_is_named(project: Project) -> None:
    (project.snippets / "patterns/queue/idea.py").unlink()
    with pytest.raises(SnippetError, match=r"no file snippets/patterns/queue/idea\.py; in that"):
        idea.expand(project, "patterns/queue")


def test_functions_stand_first_and_the_whole_file_is_folded(project: Project) -> None:
    shown = code.topic(project, "patterns/queue submit work connect").splitlines()
    titles = [line.partition('title="')[2].partition('"')[0] for line in shown if "```" in line]
    assert [title for title in titles if title] == [
        "patterns/queue/on_redis.py: submit, work",
        "client.py: connect",
        "Start Redis Streams, or in a clone without Docker: make brokers ONLY=redis",
        "Output",
        "patterns/queue/on_redis.py",
    ]
    # Line 8 of the file is line 7 of its two functions in this order.
    assert [line.partition("hl_lines=")[2][:3] for line in shown if "hl_lines" in line] == [
        '"7"',
        '"8"',
    ]
    fold = next(number for number, line in enumerate(shown) if line.startswith("    ??? whole"))
    assert shown[fold] == '    ??? whole "The whole file, 12 lines"'
    assert "curl -O https://site/compose.yaml && docker compose up --wait redis" in "\n".join(shown)


def test_a_function_that_is_nowhere_is_an_error(project: Project) -> None:
    with pytest.raises(SnippetError, match="has a function 'play'; there are: work, submit"):
        code.topic(project, "patterns/queue play")
