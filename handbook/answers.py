"""What the atlas answers: every question with what each broker showed, on one server or on three.

The trials on one server are in single.json, the clusters in a file a broker; what the documentation
says of clusters is in docs/atlas/documented.yml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from handbook import atlas
from handbook.atlas import FOLDER, Cell, span
from handbook.brokers import BROKERS, Broker, named
from handbook.evidence import EvidenceError
from handbook.snippet import FOLDER as SNIPPETS

DOCUMENTED = "docs/atlas/documented.yml"
#: The groups in the order of the pages, and the page of each.
GROUPS = {
    "What a confirm means": "atlas/confirms.md",
    "Fail-over": "atlas/fail-over.md",
    "Order": "atlas/order.md",
    "Twice": "atlas/twice.md",
    "Consumers": "atlas/consumers.md",
    "Limits": "atlas/limits.md",
    "Storage and retention": "atlas/storage.md",
    "Operations": "atlas/operations.md",
}


@dataclass(frozen=True)
class Documented:
    """What the documentation says of an answer, and whether the run showed the same."""

    agrees: bool
    says: str
    source: str


@dataclass(frozen=True)
class Answer:
    """What one broker showed in one setting: `short` for a cell, `says` in a sentence.

    `name` tells the setting from the others of the broker, in a word or two. It `holds` where
    nothing is lost and nobody has to guess. `test` is a file, with the function behind `#`.
    """

    anchor: str
    broker: Broker
    name: str
    setting: str
    default: bool
    safe: bool
    holds: bool
    short: str
    says: str
    test: str
    history: str
    server: str
    client: str
    taken: str
    documented: Documented | None

    @property
    def called(self) -> str:
        """The setting, and whether one gets it without choosing, or loses least by it."""
        known = {"default": self.default, "the safest that ran": self.safe}
        words = [word for word, so in known.items() if so]
        return self.setting + (f" ({', '.join(words)})" if words else "")


@dataclass(frozen=True)
class Asked:
    """A question, its answers by broker, and by broker why it can't be asked there.

    `by_hand` is what an operator does for it, where a broker needs one.
    """

    key: str
    group: str
    asks: str
    what: str
    three: bool
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)
    by_hand: dict[str, str] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """The page with its sentences."""
        return GROUPS[self.group]


def asked(root: Path) -> list[Asked]:
    """Return all questions, by group; those for one server come before those for three."""
    folder = root / FOLDER
    files = [*sorted(folder.glob("*.json")), root / DOCUMENTED]
    return _asked(root, tuple(file.stat().st_mtime_ns for file in files if file.is_file()))


@lru_cache(maxsize=4)
def _asked(root: Path, _changed: tuple[int, ...]) -> list[Asked]:
    found = [*_on_one(root), *_on_three(root)]
    for one in found:
        if one.group not in GROUPS:
            raise EvidenceError(
                f"{FOLDER}: {one.key} is of the group {one.group!r}, which has no page: name it in"
                " GROUPS of handbook/answers.py"
            )
    order = list(GROUPS)
    return sorted(found, key=lambda one: order.index(one.group))


def called(root: Path, keys: Iterable[str]) -> list[Asked]:
    """Return the questions with these keys."""
    by_key = {one.key: one for one in asked(root)}
    return [by_key[_known(key, by_key, "question")] for key in keys]


def answers(root: Path, anchors: Iterable[str]) -> list[tuple[Asked, Answer]]:
    """Return the answers with these anchors, each with its question."""
    by_anchor = {
        answer.anchor: (one, answer)
        for one in asked(root)
        for its in one.answers.values()
        for answer in its
    }
    return [by_anchor[_known(anchor, by_anchor, "answer")] for anchor in anchors]


def _known(key: str, among: Iterable[str], what: str) -> str:
    known = list(among)
    if key not in known:
        near = ", ".join(get_close_matches(key, known, n=3, cutoff=0.4)) or ", ".join(known)
        raise EvidenceError(f"the atlas has no {what} {key!r}; near it: {near}")
    return key


@dataclass(frozen=True)
class AtWork:
    """What a pattern's own snippet kept when a leader was killed while it was at work."""

    broker: Broker
    says: str
    by_hand: str
    server: str
    test: str


def at_work(root: Path, pattern: str) -> AtWork | None:
    """Return what the snippet of a pattern did in a cluster of three, once that is recorded."""
    there = [folder.name for folder in sorted((root / SNIPPETS / "patterns").glob("*"))]
    file = root / FOLDER / "patterns.json"
    content = atlas.read(file) if file.is_file() else {}
    if _known(pattern, there, "pattern") not in content:
        return None
    said = content[pattern]
    return AtWork(
        named(said["broker"]),
        filled(said["says"], said["runs"]),
        said["by_hand"],
        said["server"],
        said["test"],
    )


# On one server.


def _on_one(root: Path) -> list[Asked]:
    if not (root / FOLDER / "single.json").is_file():
        return []
    content = atlas.read(root / FOLDER / "single.json")
    found = {
        key: Asked(key, said["group"], said["asks"], said["what"], False, {}, dict(said["cannot"]))
        for key, said in content["questions"].items()
    }
    ordered = sorted(
        content["trials"].items(), key=lambda item: BROKERS.index(named(item[1]["broker"]))
    )
    for key, trial in ordered:
        one = found[trial["question"]]
        one.answers.setdefault(trial["broker"], []).append(_trial(key, trial))
    return list(found.values())


def _trial(key: str, said: dict[str, Any]) -> Answer:
    documented = said["documented"]
    name = key.removeprefix(f"{said['question']}-{said['broker']}").strip("-")
    return Answer(
        anchor=key,
        broker=named(said["broker"]),
        name=name.replace("-", " "),
        setting=said["setting"],
        default=said["default"],
        safe=False,
        holds=said["holds"],
        short=filled(said["short"], said["runs"]),
        says=filled(said["says"], said["runs"]),
        test=said["test"],
        history="",
        server=said["server"],
        client=said["client"],
        taken=said["taken"],
        documented=Documented(**documented) if documented else None,
    )


def filled(text: str, runs: Sequence[dict[str, float]]) -> str:
    """Return the text with the number of each name in braces; a range, where runs differ."""
    parts = []
    for before, name, _, _ in Formatter().parse(text):
        parts.append(before)
        if name:
            ends = [_rounded(end(run[name] for run in runs)) for end in (min, max)]
            parts.append(" to ".join(dict.fromkeys(ends)))
    return "".join(parts)


def _rounded(value: float) -> str:
    """Return what was counted as it is, and what was measured to two digits."""
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.2g}"


# On three.


def _on_three(root: Path) -> list[Asked]:
    says = _documented(root)
    found = []
    brokers = atlas.asked(root)
    for question in atlas.questions(root).values():
        one = Asked(question.key, question.group, question.asks, question.what, True)
        for its in brokers:
            for setting in its.settings:
                cell = its.cells.get((setting.key, question.key))
                if cell is None:
                    continue
                key = (its.broker.key, setting.key, question.key)
                answer = _cell(its, setting, question.key, cell, says.pop(key, None))
                one.answers.setdefault(its.broker.key, []).append(answer)
            if why := its.cannot.get(question.key):
                one.cannot[its.broker.key] = why
            if how := its.by_hand.get(question.key):
                one.by_hand[its.broker.key] = how
        one.cannot.update({key: said for key, (said, _) in atlas.ALONE.items()})
        found.append(one)
    if says:
        raise EvidenceError(
            f"{DOCUMENTED} speaks of {' '.join(next(iter(says)))}, which was not run"
        )
    return found


def _cell(
    its: atlas.Asked,
    setting: atlas.Setting,
    question: str,
    cell: Cell,
    documented: dict[str, Any] | None,
) -> Answer:
    agrees = documented is not None and not (documented["keeps"] and cell.loses)
    return Answer(
        anchor=f"{question}-{its.broker.key}-{setting.key}",
        broker=its.broker,
        name=setting.key.replace("-", " "),
        setting=setting.label,
        default=setting.default,
        safe=setting.safe,
        holds=not cell.loses,
        short=f"{span(cell.values('lost'))} lost",
        says=_sentences(cell),
        test=f"tests/atlas/on_{its.broker.key}.py",
        history=cell.history,
        server=its.server,
        client=its.client,
        taken=cell.taken,
        documented=Documented(agrees, documented["says"], documented["source"])
        if documented
        else None,
    )


def _documented(root: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return what the documentation says, by broker, setting and question."""
    file = root / DOCUMENTED
    if not file.is_file():
        return {}
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    said = {
        (broker, setting, question): one
        for broker, settings in found.items()
        for setting, questions in settings.items()
        for question, one in questions.items()
    }
    for key, one in said.items():
        if set(one) != {"keeps", "says", "source"}:
            raise EvidenceError(f"{DOCUMENTED}: {' '.join(key)} needs keeps, says and source")
    return said


def _sentences(cell: Cell) -> str:
    """Return what was seen, in sentences that are true of every run."""
    confirmed, lost = cell.values("confirmed"), cell.values("lost")
    if cell.loses:
        are = "is" if set(lost) == {1} else "are"
        said = f"Of {span(confirmed)} confirmed messages, **{span(lost)} {are} lost**"
    else:
        said = f"{span(confirmed)} messages were confirmed, and none of them is lost"
    parts = [f"{said}; the longest time without a confirm was {span(cell.values('gap'), 1)} s."]
    if any(refused := cell.values("refused")):
        parts.append(f"The broker or the client refused {span(refused)}.")
    if any(unknown := cell.values("unknown")):
        there = cell.values("unknown_there")
        were = "was" if set(there) == {1} else "were"
        of_these = (
            f"{span(there)} of these messages {were} there" if any(there) else "none was there"
        )
        parts.append(f"{_count(unknown, 'call', 'calls')} got no answer, and {of_these}.")
    if any(twice := cell.values("twice")):
        parts.append(f"{_count(twice, 'message', 'messages')} came a second time.")
    if any(out_of_order := cell.values("out_of_order")):
        parts.append(f"{_count(out_of_order, 'message', 'messages')} came out of order.")
    if max(cell.values("whole")) > 30:
        whole = span(cell.values("whole"))
        parts.append(f"All servers were in step again {whole} s after the fault.")
    return " ".join(parts)


def _count(values: Sequence[float], one: str, more: str) -> str:
    return f"{span(values)} {one if set(values) == {1} else more}"
