"""A claim: a sentence about a pattern, proven on every broker by one test that can fail.

`claim` turns a test into two a broker. The first runs on the snippet as the page shows it. The
second, its twin, runs on a copy in which the text that carries the claim is replaced. It passes
only if the test then fails at the assertion that sees what the page says must be seen, and at no
other: a set-up that fails, or a change that makes no sense, proves nothing.
"""

from __future__ import annotations

import functools
import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handbook.brokers import BROKERS
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, download, holder, mutated

ROOT = SNIPPETS.parent


@dataclass(frozen=True)
class Proof:
    """How a claim stands with one broker.

    Where `holds` is False the test asserts what the broker does instead, and `says` says it.
    `line` is the text of the snippet that carries it, None where no line of a snippet can.
    `seen` is what must be seen with `instead` in its place, for the page: the message of the
    assertion at which the twin fails. `with_help` says, in the claim that is the pattern's promise,
    what the snippet adds to a broker that lacks the pattern; empty where it is the broker's own.
    """

    holds: bool
    says: str
    line: str | None
    instead: str | None
    with_help: str = ""
    seen: str = ""

    def recorded(self) -> dict[str, Any]:
        """Return it as docs/data/claims.json has it."""
        return {name: value for name, value in asdict(self).items() if value or name != "seen"}


def holds(line: str, instead: str, *, says: str = "", with_help: str = "", seen: str = "") -> Proof:
    """The claim holds, thanks to `line`; with `instead` in its place, `seen` is what happens."""
    return Proof(True, says, line, instead, with_help, seen)


def differs(
    says: str, line: str | None = None, instead: str | None = None, *, seen: str = ""
) -> Proof:
    """This broker does something else: the sentence `says`, which the test asserts."""
    return Proof(False, says, line, instead, "", seen)


@dataclass(frozen=True)
class Claim:
    """A claim as the code has it. One of a pattern's claims is its promise."""

    topic: str
    name: str
    sentence: str
    test: str
    promise: bool
    proofs: dict[str, Proof]

    def recorded(self) -> dict[str, Any]:
        """Return it as docs/data/claims.json has it, on all brokers."""
        return {
            "id": self.name,
            "claim": self.sentence,
            "promise": self.promise,
            "test": self.test,
            "brokers": {
                broker.key: self.proofs[broker.key].recorded()
                for broker in BROKERS
                if broker.key in self.proofs
            },
        }


class ClaimError(Exception):
    """A claim that can't be tested. The message says where, and what to do."""


#: The claims of the modules that are imported.
CLAIMS: list[Claim] = []


def all_claims() -> list[Claim]:
    """Return the claims of every pattern, each pattern's in the order of its file."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.patterns.{file.stem}")
    return list(CLAIMS)


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
            if found != 1 and not mutated():
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


def claim(
    # Any: as far as mypy knows, a dict of proofs that is unpacked could have these names.
    sentence: str,
    *,
    seen: Any = "",
    promise: Any = False,
    **proofs: Proof,
) -> Callable[[Callable[[Stage], None]], Any]:
    """Make a test of `sentence` for each broker named, on the snippet of the test file's topic.

    `seen` is what must be seen without its line, where a broker's proof does not say it.
    `promise` marks what the pattern promises: its other claims say more of it.
    """

    def decorate(test: Callable[[Stage], None]) -> Any:
        file = Path(test.__code__.co_filename)
        topic = f"patterns/{file.stem.removeprefix('test_')}"
        made = Claim(
            topic,
            test.__name__,
            sentence,
            str(file.relative_to(ROOT)),
            promise,
            {
                key: replace(proof, seen=proof.seen or seen) if proof.line else proof
                for key, proof in proofs.items()
            },
        )
        _check(proofs, topic, f"{made.test}:{test.__code__.co_firstlineno}: {made.name}")
        CLAIMS.append(made)
        cases = [
            pytest.param(Case(key, topic, proof, without), marks=pytest.mark.broker(key), id=name)
            for key, proof in made.proofs.items()
            for without, name in ((False, key), (True, f"{key}-without-its-line"))
            if proof.line or not without
        ]
        cases += [
            pytest.param(
                Case("redis", topic, proofs["redis"], without=False),
                marks=pytest.mark.broker("valkey"),
                id="redis-on-valkey",
            )
        ] * ("redis" in proofs)

        @pytest.mark.parametrize("case", cases)
        @functools.wraps(test)
        def proven(case: Case, stage: Stage) -> None:
            __tracebackhide__ = True
            prove(test, case, stage, sentence)

        del proven.__wrapped__  # pytest would ask for its parameters
        proven.claim = made  # type: ignore[attr-defined]
        return proven

    return decorate


def _check(proofs: Mapping[str, Proof], topic: str, place: str) -> None:
    """Raise `ClaimError` where a proof names no broker, or one without a snippet."""
    known = [broker.key for broker in BROKERS]
    for key in proofs:
        if key not in known:
            raise ClaimError(f"{place} names {key}=, and the brokers are: {', '.join(known)}")
        file = SNIPPETS / topic / f"on_{key}.py"
        if not file.is_file():
            raise ClaimError(
                f"{place} names {key}=, and there is no {file.relative_to(ROOT)}: write it, or take"
                f" {key}= out"
            )


def prove(test: Callable[[Stage], None], case: Case, stage: Stage, sentence: str) -> None:
    """Run a claim's test, and judge how it ends: as it is, or without the line that carries it."""
    __tracebackhide__ = True
    try:
        test(stage)
    except AssertionError as error:
        if not case.without:
            promised = sentence if case.proof.holds else case.proof.says
            error.add_note(f"{case.original.relative_to(ROOT)} does not keep: {promised}")
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        if Path(where.filename) != Path(test.__code__.co_filename):
            raise
        if not _says(error, case.proof.seen):
            pytest.fail(
                f"{_changed(case)} fails at another assertion than the one that must see it.\n"
                f'Demanded: the assertion with the message "{case.proof.seen}"\n'
                f"Failed: {Path(where.filename).relative_to(ROOT)}:{where.lineno}: {where.line}\n"
                f"{error}",
                pytrace=False,
            )
        stage.refuse_nonsense()
        return
    except Exception as error:
        if case.without:
            error.add_note(f'{_changed(case)} was to be seen by: "{case.proof.seen}"')
        raise
    if case.without:
        pytest.fail(
            f"{_changed(case)} still passes: the test does not prove the claim", pytrace=False
        )


def _says(error: AssertionError, seen: str) -> bool:
    """Tell whether it is the assertion with this message; pytest adds what was compared below."""
    said = str(error)
    return not seen or said == seen or said.startswith(f"{seen}\n")


def _changed(case: Case) -> str:
    return f"{case.original.name} with {case.proof.instead!r} for {case.proof.line!r}"
