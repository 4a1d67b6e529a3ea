"""A claim: a sentence about a pattern, proven on every broker by one test that can fail.

`claim` turns a test into two a broker. The first runs on the snippet as the page shows it. The
second runs on a copy in which the text that carries the claim is replaced, and passes only if
the test then fails by an assertion of its own, and not because the change makes no sense.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, download, holder

ROOT = SNIPPETS.parent


@dataclass(frozen=True)
class Proof:
    """How a claim stands with one broker.

    Where `holds` is False the test asserts what the broker does instead, and `says` says it.
    `line` is the text of the snippet that carries it, None where no line of a snippet can.
    `with_help` says, in a pattern's first claim, what the snippet adds to a broker that lacks the
    pattern; empty where the pattern is the broker's own.
    """

    holds: bool
    says: str
    line: str | None
    instead: str | None
    with_help: str = ""


def holds(line: str, instead: str, *, says: str = "", with_help: str = "") -> Proof:
    """The claim holds, thanks to `line`; with `instead` in its place it must not."""
    return Proof(True, says, line, instead, with_help)


def differs(says: str, line: str | None = None, instead: str | None = None) -> Proof:
    """This broker does something else: the sentence `says`, which the test asserts."""
    return Proof(False, says, line, instead)


@dataclass(frozen=True)
class Case:
    """One run of a claim's test: a broker, and whether the carrying line is taken away."""

    key: str
    topic: str
    proof: Proof
    without: bool

    @property
    def original(self) -> Path:
        return SNIPPETS / self.topic / f"on_{self.key}.py"

    def prepare(self, folder: Path) -> Path:
        """Put the snippet and its companions into a folder, as this case wants them.

        The text that carries the claim must stand once in the snippet, or else in a companion.
        """
        copy = download(self.original, folder)
        line, instead = self.proof.line, self.proof.instead
        if line is not None:
            file, found = holder(copy, line)
            if found != 1:
                raise LookupError(
                    f"{self.original.relative_to(ROOT)}, with what it imports, has {found} times,"
                    f" and must have once, the text that carries the claim: {line!r}. Put it back,"
                    " or correct it in the claim."
                )
            if self.without:
                assert instead is not None
                changed = file.read_text().replace(line, instead)
                compile(changed, file.name, "exec")
                file.write_text(changed)
        return copy


def claim(sentence: str, **proofs: Proof) -> Callable[[Callable[[Stage], None]], Any]:
    """Make a test of `sentence` for each broker named, on the snippet of the test file's topic."""

    def decorate(test: Callable[[Stage], None]) -> Any:
        file = Path(test.__code__.co_filename)
        topic = f"patterns/{file.stem.removeprefix('test_')}"
        cases = [
            pytest.param(Case(key, topic, proof, without), marks=pytest.mark.broker(key), id=name)
            for key, proof in proofs.items()
            for without, name in ((False, key), (True, f"{key}-without-its-line"))
            if proof.line or not without
        ]

        @pytest.mark.parametrize("case", cases)
        @functools.wraps(test)
        def proven(case: Case, stage: Stage, request: pytest.FixtureRequest) -> None:
            request.node.user_properties.append(
                (
                    "claim",
                    {
                        "topic": topic,
                        "id": test.__name__,
                        "claim": sentence,
                        "test": str(file.relative_to(ROOT)),
                        "order": test.__code__.co_firstlineno,
                        "proof": asdict(case.proof),
                    },
                )
            )
            __tracebackhide__ = True
            try:
                test(stage)
            except AssertionError as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                if case.without and Path(where.filename) == file:
                    stage.refuse_nonsense()
                    return
                promised = sentence if case.proof.holds else case.proof.says
                error.add_note(f"{case.original.relative_to(ROOT)} does not keep: {promised}")
                raise
            if case.without:
                pytest.fail(
                    f"{case.original.name} without {case.proof.line!r} still passes: "
                    "the test does not prove the claim",
                    pytrace=False,
                )

        del proven.__wrapped__  # pytest would ask for its parameters
        return proven

    return decorate
