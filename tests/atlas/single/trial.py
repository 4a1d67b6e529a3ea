"""A trial: one question, put to one broker in one setting. It asserts what its sentence says."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter

from handbook.brokers import named
from tests.atlas.single.questions import QUESTIONS
from tests.brokers import Server

#: What a trial counted or timed, by name: a number that may differ from run to run.
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Documented:
    """What the documentation says of it: whether a run `agrees`, and where it stands."""

    agrees: bool
    says: str
    source: str


@dataclass(frozen=True)
class Trial:
    """One cell. `says` and `short` have a number's name in braces for each that `run` returns.

    `setting` names the options by their own names, in Markdown; `default` is what one gets without
    choosing. It `holds` where nothing is lost, and nobody has to guess: a call that
    ends with its connection, or at its own time limit, leaves its caller to guess.
    """

    question: str
    broker: str
    setting: str
    holds: bool
    short: str
    says: str
    default: bool
    documented: Documented | None
    run: Callable[[Server], Numbers]

    @property
    def key(self) -> str:
        """Return what names it among all, and in the page's address."""
        return f"{self.question}-{self.run.__name__.replace('_', '-')}"

    @property
    def test(self) -> str:
        """Return the function that is run, as pages link to it."""
        return f"{self.run.__module__.replace('.', '/')}.py#{self.run.__name__}"

    def names(self) -> set[str]:
        """Return the names of the numbers in its sentences."""
        return {
            name
            for text in (self.short, self.says)
            for _, name, _, _ in Formatter().parse(text)
            if name
        }


#: All trials, by their keys, and by question and broker why there can be none.
TRIALS: dict[str, Trial] = {}
CANNOT: dict[tuple[str, str], str] = {}


def trial(
    question: str,
    broker: str,
    setting: str,
    *,
    holds: bool,
    short: str,
    says: str,
    default: bool = False,
    documented: Documented | None = None,
) -> Callable[[Callable[[Server], Numbers]], Callable[[Server], Numbers]]:
    """Make a trial of a function whose name begins with the broker's key."""

    def make(run: Callable[[Server], Numbers]) -> Callable[[Server], Numbers]:
        assert run.__name__.startswith(named(broker).key), run.__name__
        one = Trial(
            QUESTIONS[question].key, broker, setting, holds, short, says, default, documented, run
        )
        assert one.key not in TRIALS or TRIALS[one.key].test == one.test, one.key
        TRIALS[one.key] = one
        return run

    return make


def cannot(question: str, broker: str, why: str) -> None:
    """Say in one sentence why a broker can't be asked."""
    CANNOT[QUESTIONS[question].key, named(broker).key] = why


def load() -> dict[str, Trial]:
    """Import the file of each question; return all trials in the order of questions and brokers."""
    for question in QUESTIONS.values():
        importlib.import_module(f"{__package__}.{question.module}")
    return TRIALS
