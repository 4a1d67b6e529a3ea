"""`::: choose <file>`: questions that lead to an answer, from a YAML file, as static HTML.

Each option's branch follows its question, nested as deep as the path is long. choose.css shows
the branch of the option that is checked, so it needs no JavaScript; where a browser lacks `:has()`
everything is visible, in the order of the questions. choose.js keeps the path in the address, and
prints it with its answer as the record of a decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from handbook import page
from handbook.directives.claims import inline
from handbook.directives.project import Project

#: More questions than this, and a reader gives up.
LONGEST = 5
#: choose.css has a rule for each option up to this one.
WIDEST = 5


class ChooseError(Exception):
    """The questions and answers do not fit together. The message says what to do."""


@dataclass(frozen=True)
class Option:
    """What a reader may choose, why it matters, and the question or answer that comes then."""

    choose: str
    because: str
    then: str


@dataclass(frozen=True)
class Question:
    """A question and its options."""

    ask: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Answer:
    """Where a path ends. `read` holds texts and the pages below docs/ that they link to."""

    title: str
    says: str
    know: tuple[str, ...]
    read: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chooser:
    """Questions and answers by name, and the first question's name."""

    start: str
    questions: dict[str, Question]
    answers: dict[str, Answer]

    def paths(self) -> Iterator[tuple[tuple[Option, ...], str]]:
        """Return each path from the start: the options taken, and the answer's name."""
        yield from self._paths(self.start, ())

    def _paths(
        self, name: str, taken: tuple[Option, ...]
    ) -> Iterator[tuple[tuple[Option, ...], str]]:
        if name in self.answers:
            yield taken, name
            return
        for option in self.questions[name].options:
            yield from self._paths(option.then, (*taken, option))


def form(project: Project, name: str) -> str:
    """Return the first question, with everything that follows from it."""
    chooser = load(project.root, name)
    # A browser may submit on Enter and reload the page; outside a dialog, "dialog" sends nothing.
    return (
        '<form class="choose" method="dialog" aria-label="Choose a broker" data-search-exclude>'
        f"{_step(chooser, chooser.start, (), ())}"
        '<p class="choose-again"><button type="reset">Start again</button> <button type="button"'
        ' class="choose-record" hidden>Print as a decision record</button></p>'
        '<p class="choose-signed" hidden></p></form>'
    )


def load(root: Path, name: str) -> Chooser:
    """Read and check a file below docs/."""
    file = Path("docs") / name
    if not name or not (root / file).is_file():
        raise ChooseError(f"there is no {file}: write '::: choose types/choose.yml'")
    try:
        found = yaml.safe_load((root / file).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ChooseError(f"{file} is not valid YAML: {error}") from None
    try:
        chooser = _chooser(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ChooseError(
            f"{file} does not have the expected form ({error!r}): its first lines say how "
            "a question and an answer are written"
        ) from None
    _check(root, str(file), chooser)
    return chooser


def _chooser(found: Any) -> Chooser:
    questions = {
        name: Question(
            question["ask"],
            tuple(Option(o["choose"], o["because"], o["then"]) for o in question["options"]),
        )
        for name, question in found["questions"].items()
    }
    answers = {
        name: Answer(a["title"], a["says"], tuple(a["know"]), tuple(a["read"].items()))
        for name, a in found["answers"].items()
    }
    return Chooser(found["start"], questions, answers)


def _check(root: Path, file: str, chooser: Chooser) -> None:
    names = {*chooser.questions, *chooser.answers}
    for both in chooser.questions.keys() & chooser.answers.keys():
        raise ChooseError(f"{file}: {both!r} is a question and an answer: rename one of them")
    if chooser.start not in chooser.questions:
        raise ChooseError(f"{file}: start is {chooser.start!r}, and no question is called that")
    for name, question in chooser.questions.items():
        if len(question.options) > WIDEST:
            raise ChooseError(
                f"{file}: question {name!r} has {len(question.options)} options: "
                f"{WIDEST} are the most, or add a rule to choose.css"
            )
        for option in question.options:
            if option.then not in names:
                raise ChooseError(
                    f"{file}: in question {name!r}, {option.choose!r} leads to {option.then!r}, "
                    "and no question or answer is called that: correct `then`, or add it"
                )
    reached = _reached(file, chooser, chooser.start, ())
    for name in sorted(names - reached):
        raise ChooseError(f"{file}: no path leads to {name!r}: name it in a `then`, or delete it")
    for name, answer in chooser.answers.items():
        for _, target in answer.read:
            if not (root / "docs" / target.partition("#")[0]).is_file():
                raise ChooseError(
                    f"{file}: answer {name!r} links to {target!r}, and there is no such page "
                    "below docs/"
                )


def _reached(file: str, chooser: Chooser, name: str, taken: tuple[str, ...]) -> set[str]:
    """Return what can be reached from here; a loop or a path that is too long is an error."""
    if name in taken:
        raise ChooseError(
            f"{file}: the questions go round: {' → '.join((*taken, name))}: "
            f"let an option of {taken[-1]!r} lead elsewhere"
        )
    if name in chooser.answers:
        return {name}
    path = (*taken, name)
    if len(path) > LONGEST:
        raise ChooseError(
            f"{file}: this path asks {len(path)} questions: {' → '.join(path)}: "
            f"{LONGEST} are the most"
        )
    found = {name}
    for option in chooser.questions[name].options:
        found |= _reached(file, chooser, option.then, path)
    return found


def _step(chooser: Chooser, name: str, taken: tuple[Option, ...], places: tuple[int, ...]) -> str:
    """Return a question, and below it a branch for each option."""
    key = "-".join(map(str, ("choose", *places)))
    question = chooser.questions[name]
    options = branches = ""
    for place, option in enumerate(question.options, 1):
        here = f"{key}-{place}"
        options += (
            f'<div class="choose-option"><input type="radio" name="{key}" id="{here}">'
            f'<label for="{here}">{inline(option.choose)}</label></div>'
        )
        path = (*taken, option)
        follows = (
            _answer(chooser.answers[option.then], path, f"{here}-answer")
            if option.then in chooser.answers
            else _step(chooser, option.then, path, (*places, place))
        )
        branches += (
            f'<div class="choose-branch"><p class="choose-if">If you chose '
            f"“{inline(option.choose)}”:</p>{follows}</div>"
        )
    number = f'<span class="choose-number">Question {len(taken) + 1}</span>'
    return (
        f'<div class="choose-step"><fieldset><legend>{number} {inline(question.ask)}</legend>'
        f"{options}</fieldset>{branches}</div>"
    )


def _answer(answer: Answer, taken: tuple[Option, ...], key: str) -> str:
    reasons = "".join(f"<li>{inline(option.because)}</li>" for option in taken)
    know = "".join(f"<li>{inline(each)}</li>" for each in answer.know)
    links = "".join(
        f'<li><a href="{escape(page.current.link_to(target))}">{inline(text)}</a></li>'
        for text, target in answer.read
    )
    return (
        f'<section class="choose-answer" aria-labelledby="{key}">'
        f'<h3 id="{key}">{inline(answer.title)}</h3><p>{inline(answer.says)}</p>'
        f"<p>Because of what you chose:</p><ul>{reasons}</ul>"
        f"<p>Know before you decide:</p><ul>{know}</ul>"
        f'<p>Read on:</p><ul class="choose-read">{links}</ul></section>'
    )
