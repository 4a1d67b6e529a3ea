"""What the tests recorded in docs/data/: claims, versions, and what each function survives."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

CLAIMS = "docs/data/claims.json"
VERSIONS = "docs/data/versions.json"
SURVIVAL = "docs/data/survival.json"


class EvidenceError(Exception):
    """The recorded evidence is missing or does not fit. The message says what to do."""


def test_line(root: Path, path: str, name: str) -> int:
    """Return the line at which a test, or a class of tests, begins."""
    file = root / path
    if not file.is_file():
        raise EvidenceError(f"there is no {path} in this repository")
    line = _lines(file.read_text(encoding="utf-8")).get(name)
    if line is None:
        raise EvidenceError(f"{path} does not have {name}")
    return line


@cache
def _lines(code: str) -> dict[str, int]:
    """Return where functions and classes begin. Pages name most files of tests many times."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.setdefault(node.name, node.lineno)
    return found


@dataclass(frozen=True)
class Verdict:
    """How one broker did: `line` is the text of its snippet that carries the claim.

    With `instead` in its place, the test has `seen` what the claim denies; empty where no sentence
    says it yet. `with_help` says what the snippet adds where the broker lacks the pattern itself.
    """

    holds: bool
    says: str
    line: str | None
    instead: str | None
    with_help: str
    seen: str


@dataclass(frozen=True)
class Claim:
    """One claim about all brokers and the test behind it; one of a pattern's is its promise."""

    name: str
    text: str
    promise: bool
    test: str
    verdicts: dict[str, Verdict]

    def test_line(self, root: Path) -> int:
        """Return the line at which the claim's test begins."""
        try:
            return test_line(root, self.test, self.name)
        except EvidenceError as error:
            raise EvidenceError(f"{CLAIMS}: {error}: run `make record`") from None


@dataclass(frozen=True)
class Outcome:
    """What a function made of a fault: `text` is its exception's; `seconds` is rounded up."""

    verdict: str
    text: str
    seconds: int


@dataclass(frozen=True)
class LongLived:
    """A function that a service lives in; `snippet` is a path below snippets/."""

    snippet: str
    function: str
    outcomes: dict[str, Outcome]

    @property
    def key(self) -> str:
        """The broker of the snippet."""
        return Path(self.snippet).stem.removeprefix("on_")

    @property
    def anchor(self) -> str:
        """The id of its row on the page of survival."""
        path = self.snippet.removesuffix(".py").replace("/", "-")
        return f"{path}-{self.function.replace('.', '-')}".lower()


@dataclass(frozen=True)
class Survival:
    """Servers by broker, what each fault is, and the functions in the order of their files."""

    servers: dict[str, str]
    faults: dict[str, str]
    functions: list[LongLived]


def _read(root: Path, name: str) -> dict[str, Any]:
    file = root / name
    if not file.is_file():
        raise EvidenceError(f"{name} is missing: `make record` writes it")
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except json.JSONDecodeError as error:
        raise EvidenceError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from None


@lru_cache(maxsize=8)
def _parsed(file: Path, _changed: int) -> dict[str, Any]:
    """Return what the file says. Many directives of a page ask, and none changes it."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


def claims(root: Path) -> dict[str, list[Claim]]:
    """Return the claims of every topic."""
    try:
        return {
            topic: [
                Claim(
                    name=entry["id"],
                    text=entry["claim"],
                    promise=entry["promise"],
                    test=entry["test"],
                    verdicts={
                        key: Verdict(
                            holds=verdict["holds"],
                            says=verdict["says"],
                            line=verdict["line"],
                            instead=verdict["instead"],
                            with_help=verdict["with_help"],
                            seen=verdict.get("seen", ""),
                        )
                        for key, verdict in entry["brokers"].items()
                    },
                )
                for entry in entries
            ]
            for topic, entries in _read(root, CLAIMS).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{CLAIMS} does not have the expected form ({error!r}): run `make record`"
        ) from None


def promise(topic: str, recorded: list[Claim]) -> Claim:
    """Return what a pattern promises: the claim that is marked so, wherever it stands."""
    marked = [claim for claim in recorded if claim.promise]
    if len(marked) != 1:
        raise EvidenceError(
            f"{CLAIMS} marks {len(marked)} claims on {topic!r} as its promise, and must mark one:"
            " write `promise=True` in one `@claim` of the pattern's test, then run `make record`"
        )
    return marked[0]


def versions(root: Path) -> dict[str, dict[str, str]]:
    """Return server and client by broker."""
    return _read(root, VERSIONS)


def survival(root: Path) -> Survival:
    """Return what each long-lived function survives: nothing before it was first recorded."""
    file = root / SURVIVAL
    if not file.is_file():
        return Survival({}, {}, [])
    return _survival(root, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _survival(root: Path, _changed: int) -> Survival:
    recorded = _read(root, SURVIVAL)
    try:
        functions = [
            LongLived(
                f"{path}.py",
                function,
                {
                    fault: Outcome(one["verdict"], one["text"], one["seconds"])
                    for fault, one in entry["faults"].items()
                },
            )
            for name, entry in recorded["functions"].items()
            for path, _, function in [name.partition(" ")]
        ]
        return Survival(recorded["servers"], recorded["faults"], functions)
    except (KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{SURVIVAL} does not have the expected form ({error!r}): run `make record`"
        ) from None
