"""The chooser's questions: every path ends, and a mistake in the file says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from handbook import page
from handbook.directives import choose
from handbook.directives.choose import LONGEST, ChooseError
from handbook.directives.project import Project

ROOT = Path(__file__).parents[2]
FILE = "types/choose.yml"
#: The six brokers that the handbook runs, and the answers that need none.
WANTED = {
    "rabbitmq",
    "kafka",
    "nats",
    "redis",
    "mqtt",
    "postgresql",
    "call",
    "in_process",
    "cron",
    "managed",
}
SMALL = """
start: first
questions:
  first:
    ask: Now?
    options:
      - {choose: "Yes", because: It is urgent., then: call}
      - {choose: "No", because: It can wait., then: second}
  second:
    ask: For one or all?
    options:
      - {choose: One, because: "It is a `task`.", then: queue}
      - {choose: All, because: It is an event., then: call}
answers:
  call: {title: Call, says: Call it., know: [It fails.], read: {Calls: calls.md}}
  queue: {title: Queue, says: Queue it., know: [It fills.], read: {Queues: types/queues.md#full}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with a small chooser, and the page types/choose.md to show it."""
    (tmp_path / "docs" / "types").mkdir(parents=True)
    for name in ("calls.md", "types/queues.md"):
        (tmp_path / "docs" / name).touch()
    (tmp_path / "docs" / FILE).write_text(SMALL, encoding="utf-8")
    monkeypatch.setattr(page, "current", page.Page("types/choose.md"))
    return Project(tmp_path, "", "")


def test_every_path_of_the_handbook_ends_in_an_answer() -> None:
    chooser = choose.load(ROOT, FILE)
    paths = list(chooser.paths())
    assert {answer for _, answer in paths} == set(chooser.answers)
    assert set(chooser.answers) >= WANTED
    assert max(len(taken) for taken, _ in paths) <= LONGEST


def test_no_option_gives_the_same_reason_as_another_on_its_path() -> None:
    for taken, _ in choose.load(ROOT, FILE).paths():
        reasons = [option.because for option in taken]
        assert len(set(reasons)) == len(reasons)


def test_each_option_is_followed_by_its_branch(project: Project) -> None:
    first = BeautifulSoup(choose.form(project, FILE), "html.parser").select_one(".choose-step")
    assert first
    assert [label.text for label in first.select(":scope > fieldset label")] == ["Yes", "No"]
    called, asked = first.select(":scope > .choose-branch")
    assert called.select_one("h3").text == "Call"  # type: ignore[union-attr]
    assert asked.select_one("legend").text == "Question 2 For one or all?"  # type: ignore[union-attr]


def test_the_reasons_of_the_path_add_up(project: Project) -> None:
    html = choose.form(project, FILE)
    answer = BeautifulSoup(html, "html.parser").find(id="choose-2-1-answer")
    assert answer
    section = answer.find_parent("section")
    assert section
    assert [li.decode_contents() for li in section.select("ul:not(.choose-read) li")] == [
        "It can wait.",
        "It is a <code>task</code>.",
        "It fills.",
    ]
    assert [a["href"] for a in section.select("a")] == ["../queues/#full"]


def test_names_and_labels_belong_together(project: Project) -> None:
    soup = BeautifulSoup(choose.form(project, FILE), "html.parser")
    ids = [str(each["id"]) for each in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    assert [label["for"] for label in soup.select("label")] == [
        each["id"] for each in soup.select("input")
    ]
    groups = [{str(i["name"]) for i in f.select("input")} for f in soup.select("fieldset")]
    assert groups == [{"choose"}, {"choose-2"}]


FAULTS = {
    "an unknown next": ("then: queue}", "then: que}", "leads to 'que', and no question or answer"),
    "a lost answer": ("then: queue}", "then: call}", "no path leads to 'queue'"),
    "a loop": ("then: queue}", "then: first}", "go round: first → second → first"),
    "too many options": (
        "      - {choose: One,",
        "      - {choose: More, because: It may be., then: call}\n" * 4 + "      - {choose: One,",
        "question 'second' has 6 options",
    ),
    "an unknown start": ("start: first", "start: zeroth", "start is 'zeroth'"),
    "a missing page": ("calls.md", "call.md", "links to 'call.md', and there is no such page"),
    "a missing reason": ("because: It is urgent., ", "", "expected form (KeyError('because'))"),
    "a name for both": ("  queue:", "  second:", "'second' is a question and an answer"),
    "no YAML": ("start:", "start: [", "not valid YAML"),
}


@pytest.mark.parametrize(("old", "new", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_the_file_and_what_is_wrong(
    project: Project, old: str, new: str, reason: str
) -> None:
    (project.root / "docs" / FILE).write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(ChooseError, match=re.escape(reason)) as raised:
        choose.form(project, FILE)
    assert f"docs/{FILE}" in str(raised.value)


def test_a_path_has_five_questions_at_most(project: Project) -> None:
    found = yaml.safe_load(SMALL)
    option = {"choose": "On", "because": "It goes on.", "then": "queue"}
    for number in range(3, LONGEST + 2):
        found["questions"][f"q{number}"] = {"ask": "On?", "options": [dict(option)]}
        previous = "second" if number == 3 else f"q{number - 1}"
        found["questions"][previous]["options"][0]["then"] = f"q{number}"
    (project.root / "docs" / FILE).write_text(yaml.safe_dump(found), encoding="utf-8")
    with pytest.raises(ChooseError, match=r"asks 6 questions: .*: 5 are the most"):
        choose.form(project, FILE)


def test_a_missing_file_says_what_to_write(project: Project) -> None:
    with pytest.raises(ChooseError, match=r"no docs/types/chose\.yml: write '::: choose"):
        choose.form(project, "types/chose.yml")
