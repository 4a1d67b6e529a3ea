"""A trial: a pattern's snippet at work on one broker's cluster, and what has to be seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from tests.atlas.patterns.service import Service

#: What a trial counted, by name: a number that may differ from run to run.
Numbers = Mapping[str, float]
#: It asserts what its sentence says in words, and returns the numbers that stand in braces there.
Run = Callable[[Any, Service], Awaitable[Numbers]]


@dataclass(frozen=True)
class Trial:
    """One pattern on one broker. `by_hand` is what an operator did before or meanwhile."""

    pattern: str
    broker: str
    says: str
    by_hand: str
    run: Run

    @property
    def test(self) -> str:
        """Return the function that is run, as pages link to it."""
        return f"{self.run.__module__.replace('.', '/')}.py#{self.run.__name__}"

    def names(self) -> list[str]:
        """Return the names of the numbers in its sentence."""
        return [name for _, name, _, _ in Formatter().parse(self.says) if name]


#: By the pattern's name.
TRIALS: dict[str, Trial] = {}


def trial(broker: str, says: str, *, by_hand: str = "") -> Callable[[Run], Run]:
    """Make a trial of a function that has the name of a pattern."""

    def make(run: Run) -> Run:
        TRIALS[run.__name__] = Trial(run.__name__, broker, says, by_hand, run)
        return run

    return make
