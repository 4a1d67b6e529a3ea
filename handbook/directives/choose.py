"""`::: choose <file>`: questions to answer in any order, and what remains, from a YAML file.

The HTML holds every question, what each of its answers rules out and speaks for, and every
candidate, so all of it can be read without JavaScript. choose.js sorts the candidates by what was
answered, keeps the answers in the address, and prints them as the record of a decision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from handbook import page
from handbook.directives.claims import inline
from handbook.directives.project import Project

#: Who runs it: a reader sees the kind beside the title.
KINDS = ("No broker", "Broker", "Managed offer")
LINK = re.compile(r"\[([^]]+)\]\(([^)\s]+)\)")


class ChooseError(Exception):
    """The questions and candidates do not fit together. The message says what to do."""


@dataclass(frozen=True)
class Effect:
    """What an answer says of some candidates: it rules them out or speaks for them."""

    out: bool
    of: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class Answer:
    """What a reader may choose, and what follows from it."""

    choose: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Question:
    """A question and its answers by name."""

    ask: str
    answers: dict[str, Answer]


@dataclass(frozen=True)
class Candidate:
    """What a reader may end with. `read` holds texts and the pages below docs/ they link to."""

    kind: str
    title: str
    says: str
    know: tuple[str, ...]
    read: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chooser:
    """Questions and candidates by name, in the order of the file."""

    questions: dict[str, Question]
    candidates: dict[str, Candidate]


class _Mapping(dict[str, Any]):
    """A mapping of the file that knows its line, and says which key it lacks."""

    line = 0

    def __missing__(self, key: str) -> Any:
        raise _FaultError(self, f"`{key}` is missing: the file's first lines say what belongs here")


class _FaultError(Exception):
    def __init__(self, where: _Mapping, message: str) -> None:
        super().__init__(message)
        self.line = where.line


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    pass


def _mapping(loader: _Loader, node: yaml.MappingNode) -> _Mapping:
    found = _Mapping(loader.construct_mapping(node, deep=True))
    found.line = node.start_mark.line + 1
    if len(found) < len(node.value):
        raise _FaultError(found, "a name stands here twice: rename one of them")
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(root: Path, name: str) -> Chooser:
    """Read and check a file below docs/."""
    file = Path("docs") / name
    if not name or not (root / file).is_file():
        raise ChooseError(f"there is no {file}: write '::: choose types/choose.yml'")
    try:
        found = yaml.load((root / file).read_text(encoding="utf-8"), _Loader)
        return _chooser(root, found)
    except _FaultError as fault:
        raise ChooseError(f"{file}:{fault.line}: {fault}") from None
    except yaml.YAMLError as error:
        raise ChooseError(f"{file} is not valid YAML: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ChooseError(
            f"{file} does not have the expected form ({error!r}): its first lines say how "
            "a question and a candidate are written"
        ) from None


def _chooser(root: Path, found: _Mapping) -> Chooser:
    candidates = {name: _candidate(root, each) for name, each in found["candidates"].items()}
    questions = {
        name: Question(
            each["ask"],
            {key: _answer(root, answer, candidates) for key, answer in each["answers"].items()},
        )
        for name, each in found["questions"].items()
    }
    named = {
        candidate
        for question in questions.values()
        for answer in question.answers.values()
        for effect in answer.effects
        for candidate in effect.of
    }
    for name in candidates:
        if name not in named:
            raise _FaultError(
                found["candidates"][name],
                f"no answer names {name!r}: name it in an `out` or `for`, or delete it",
            )
    return Chooser(questions, candidates)


def _candidate(root: Path, found: _Mapping) -> Candidate:
    if found["kind"] not in KINDS:
        raise _FaultError(found, f"kind is {found['kind']!r}: write one of {', '.join(KINDS)}")
    for target in found["read"].values():
        _exists(root, found, target)
    return Candidate(
        found["kind"],
        found["title"],
        found["says"],
        tuple(found["know"]),
        tuple(found["read"].items()),
    )


def _answer(root: Path, found: _Mapping, candidates: dict[str, Candidate]) -> Answer:
    effects = []
    named: set[str] = set()
    for key in ("for", "out"):
        for each in found.get(key, ()):
            effects.append(Effect(key == "out", tuple(each["of"]), each["because"]))
            for name in each["of"]:
                if name not in candidates:
                    raise _FaultError(each, f"no candidate is called {name!r}: correct `of`")
                if name in named:
                    raise _FaultError(each, f"the answer names {name!r} twice: once is enough")
                named.add(name)
            links = LINK.findall(each["because"])
            if not links:
                raise _FaultError(each, "`because` links to no page that shows it: add a link")
            for _, target in links:
                _exists(root, each, target)
    if not effects:
        raise _FaultError(
            found, "the answer changes nothing: give it an `out` or `for`, or delete it"
        )
    return Answer(found["choose"], tuple(effects))


def _exists(root: Path, where: _Mapping, target: str) -> None:
    if not (root / "docs" / target.partition("#")[0]).is_file():
        raise _FaultError(where, f"there is no page {target!r} below docs/: correct the link")


def form(project: Project, name: str) -> str:
    """Return all questions, and below them all candidates."""
    chooser = load(project.root, name)
    titles = {key: candidate.title for key, candidate in chooser.candidates.items()}
    questions = "".join(_question(*each, titles) for each in chooser.questions.items())
    candidates = "".join(_listed(*each) for each in chooser.candidates.items())
    # A browser may submit on Enter and reload the page; outside a dialog, "dialog" sends nothing.
    return (
        '<form class="choose" method="dialog" aria-label="Choose a broker" data-search-exclude>'
        f"{questions}"
        '<p class="choose-count" hidden><span role="status"></span> '
        '<a href="#choose-candidates">See the reasons</a></p>'
        '<h3 id="choose-candidates" tabindex="-1">The candidates</h3>'
        f'<ul class="choose-list">{candidates}</ul>'
        '<div class="choose-ruled" hidden><h3>Ruled out</h3><ul class="choose-list"></ul></div>'
        '<p class="choose-again" hidden><button type="reset">Start again</button>'
        ' <button type="button" class="choose-record">Print as a decision record</button></p>'
        '<p class="choose-signed" hidden></p></form>'
    )


def _question(name: str, question: Question, titles: dict[str, str]) -> str:
    options = "".join(
        _option(name, key, inline(answer.choose), _effects(answer, titles))
        for key, answer in question.answers.items()
    )
    return (
        f"<fieldset><legend>{inline(question.ask)}</legend>{options}"
        f"{_option(name, '', 'Leave it open', '', ' checked')}</fieldset>"
    )


def _option(name: str, key: str, label: str, effects: str, checked: str = "") -> str:
    here = f"choose-{name}-{key}"
    return (
        f'<div class="choose-option"><input type="radio" name="{name}" value="{key}" id="{here}"'
        f'{checked}><label for="{here}">{label}</label>{effects}</div>'
    )


def _effects(answer: Answer, titles: dict[str, str]) -> str:
    items = "".join(
        f'<li data-{"out" if effect.out else "pro"}="{" ".join(effect.of)}">'
        f"<strong>{'Rules out' if effect.out else 'Speaks for'} "
        f"{escape(', '.join(titles[name] for name in effect.of))}.</strong> "
        f"<span>{_linked(effect.because)}</span></li>"
        for effect in answer.effects
    )
    return f'<ul class="choose-effects">{items}</ul>'


def _listed(name: str, candidate: Candidate) -> str:
    know = "".join(f"<li>{inline(each)}</li>" for each in candidate.know)
    links = "".join(
        f'<li><a href="{escape(page.current.link_to(target))}">{inline(text)}</a></li>'
        for text, target in candidate.read
    )
    return (
        f'<li class="choose-candidate" data-name="{name}">'
        f'<h4>{inline(candidate.title)} <span class="choose-kind">{candidate.kind}</span></h4>'
        f'<p>{inline(candidate.says)}</p><ul class="choose-reasons" hidden></ul>'
        "<details><summary>Know before you decide</summary>"
        f"<ul>{know}</ul><p>Read on:</p><ul>{links}</ul></details></li>"
    )


def _linked(text: str) -> str:
    return LINK.sub(
        lambda link: f'<a href="{page.current.link_to(link[2])}">{link[1]}</a>', inline(text)
    )
