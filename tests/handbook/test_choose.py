"""The chooser's questions: their reasons agree with the record, and a mistake names its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from handbook import evidence, page
from handbook.brokers import BROKERS
from handbook.directives import choose
from handbook.directives.choose import KINDS, LINK, ChooseError, Effect
from handbook.directives.claims import anchor
from handbook.directives.project import Project
from handbook.directives.support import page_of

ROOT = Path(__file__).parents[2]
FILE = "types/choose.yml"
SMALL = """
questions:
  when:
    ask: Now?
    answers:
      now:
        choose: Now
        for:
          - {of: [call], because: "It is [urgent](calls.md)."}
        out:
          - {of: [queue], because: "A `task` [waits](types/queues.md#full)."}
      later:
        choose: Later
        for:
          - {of: [queue], because: "It can [wait](types/queues.md)."}
candidates:
  call: {kind: No broker, title: Call, says: Call it., know: [It fails.], read: {Calls: calls.md}}
  queue: {kind: Broker, title: Queue, says: Queue it., know: [It fills.], read: {More: calls.md}}
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


def effects() -> Iterator[Effect]:
    """Return what each answer of the handbook rules out and speaks for."""
    for question in choose.load(ROOT, FILE).questions.values():
        for answer in question.answers.values():
            yield from answer.effects


def test_there_is_every_broker_and_every_kind() -> None:
    candidates = choose.load(ROOT, FILE).candidates
    assert set(candidates) >= {broker.key for broker in BROKERS} - {"minibroker"}
    assert {each.kind for each in candidates.values()} == set(KINDS)


def test_each_candidate_can_be_ruled_out_and_can_be_spoken_for() -> None:
    found = list(effects())
    for name in choose.load(ROOT, FILE).candidates:
        assert {effect.out for effect in found if name in effect.of} == {True, False}, name


def test_no_answers_together_rule_out_everything() -> None:
    chooser = choose.load(ROOT, FILE)
    kept = {frozenset(chooser.candidates)}
    for question in chooser.questions.values():
        outs = [
            {name for effect in answer.effects if effect.out for name in effect.of}
            for answer in question.answers.values()
        ]
        kept |= {before - out for before in kept for out in outs}
    assert frozenset() not in kept


def test_a_reason_that_links_to_a_claim_agrees_with_the_record() -> None:
    """A broker is spoken for where the claim holds by what it has, and ruled out where not."""
    claims = {
        f"{page_of(ROOT, topic)[0]}#{anchor(claim)}": claim
        for topic, recorded in evidence.claims(ROOT).items()
        if topic.startswith("patterns/")
        for claim in recorded
    }
    compared = 0
    for effect in effects():
        for _, target in LINK.findall(effect.because):
            if not (claim := claims.get(target)):
                continue
            for broker in effect.of:
                verdict = claim.verdicts[broker]
                native = verdict.holds and not verdict.with_help
                assert effect.out is not native, f"{broker}: {effect.because}"
                compared += 1
    assert compared


def test_each_answer_is_followed_by_what_it_does(project: Project) -> None:
    soup = BeautifulSoup(choose.form(project, FILE), "html.parser")
    options = soup.select(".choose-option")
    assert [each.label.text for each in options if each.label] == ["Now", "Later", "Leave it open"]
    assert [item.text for item in options[0].select("li")] == [
        "Speaks for Call. It is urgent.",
        "Rules out Queue. A task waits.",
    ]
    assert [a["href"] for a in options[0].select("a")] == ["../../calls/", "../queues/#full"]
    assert [item["data-name"] for item in soup.select(".choose-candidate")] == ["call", "queue"]
    assert [each["id"] for each in soup.select("[checked]")] == ["choose-when-"]


def test_names_and_labels_belong_together(project: Project) -> None:
    soup = BeautifulSoup(choose.form(project, FILE), "html.parser")
    ids = [str(each["id"]) for each in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    assert [label["for"] for label in soup.select("label")] == [
        each["id"] for each in soup.select("input")
    ]


FAULTS = {
    "an unknown candidate": ("of: [call]", "of: [cal]", 9, "no candidate is called 'cal'"),
    "a candidate that is named twice": (
        'of: [queue], because: "A',
        'of: [call], because: "A',
        11,
        "the answer names 'call' twice",
    ),
    "a candidate that nothing names": (
        "\n  call: {",
        "\n  cry: {kind: Broker, title: Cry, says: Cry., know: [], read: {}}\n  call: {",
        17,
        "no answer names 'cry'",
    ),
    "an answer that changes nothing": (
        '\n        for:\n          - {of: [queue], because: "It can [wait](types/queues.md)."}',
        "",
        13,
        "the answer changes nothing",
    ),
    "a reason without a link": ("[urgent](calls.md)", "urgent", 9, "links to no page"),
    "a missing page": ("(calls.md)", "(call.md)", 9, "there is no page 'call.md'"),
    "a page to read that is missing": ("Calls: calls.md", "Calls: call.md", 17, "no page"),
    "a missing reason": (', because: "It is [urgent](calls.md)."', "", 9, "`because` is missing"),
    "an unknown kind": ("kind: No broker", "kind: None", 17, "kind is 'None'"),
    "a name twice": ("      later:", "      now:", 6, "a name stands here twice"),
}


@pytest.mark.parametrize(("old", "new", "line", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_the_file_and_the_line(
    project: Project, old: str, new: str, line: int, reason: str
) -> None:
    assert old in SMALL
    (project.root / "docs" / FILE).write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(ChooseError, match=re.escape(reason)) as raised:
        choose.form(project, FILE)
    assert str(raised.value).startswith(f"docs/{FILE}:{line}: ")


def test_what_is_no_yaml_says_where(project: Project) -> None:
    (project.root / "docs" / FILE).write_text("questions: [", encoding="utf-8")
    with pytest.raises(ChooseError, match=r"docs/types/choose\.yml is not valid YAML: [^$]*line"):
        choose.form(project, FILE)


def test_a_missing_file_says_what_to_write(project: Project) -> None:
    with pytest.raises(ChooseError, match=r"no docs/types/chose\.yml: write '::: choose"):
        choose.form(project, "types/chose.yml")
