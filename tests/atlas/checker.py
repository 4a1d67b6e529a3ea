"""Judge a history: what was lost, came twice or out of order, and for how long nothing went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from tests.atlas.history import CONFIRMED, REFUSED, UNKNOWN, History


@dataclass(frozen=True)
class Verdict:
    """`lost` are confirmed messages that are not there, `twice` are copies beyond the first.

    `out_of_order` are messages that stand before one whose confirm came before they were sent.
    `unknown_there` and `refused_there` have no confirm and are there all the same; `strangers`
    are messages that nobody has published. `gap` is the longest time without a confirm, in seconds.
    """

    published: int
    confirmed: int
    refused: int
    unknown: int
    lost: int
    twice: int
    out_of_order: int
    unknown_there: int
    refused_there: int
    strangers: int
    gap: float


def check(history: History) -> Verdict:
    """Judge a history."""
    there = Counter(history.read)
    by_outcome = {
        outcome: [call for call in history.calls if call.outcome == outcome]
        for outcome in (CONFIRMED, REFUSED, UNKNOWN)
    }
    published = {call.message for call in history.calls}

    def present(outcome: str) -> int:
        return sum(call.message in there for call in by_outcome[outcome])

    return Verdict(
        published=len(history.calls),
        confirmed=len(by_outcome[CONFIRMED]),
        refused=len(by_outcome[REFUSED]),
        unknown=len(by_outcome[UNKNOWN]),
        lost=len(by_outcome[CONFIRMED]) - present(CONFIRMED),
        twice=sum(count - 1 for count in there.values()),
        out_of_order=_out_of_order(history),
        unknown_there=present(UNKNOWN),
        refused_there=present(REFUSED),
        strangers=sum(message not in published for message in there),
        gap=round(_gap(history), 2),
    )


def _gap(history: History) -> float:
    confirms = sorted(call.ended for call in history.calls if call.outcome == CONFIRMED)
    return max(after - before for before, after in pairwise([0.0, *confirms, history.ended]))


def _out_of_order(history: History) -> int:
    """Count messages that came before one that was confirmed before they were sent.

    Calls that overlap have no order. A message that came twice has the place of its first copy.
    """
    places = {message: place for place, message in reversed(list(enumerate(history.read)))}
    calls = [call for call in history.calls if call.message in places]
    confirmed = sorted(
        (call for call in calls if call.outcome == CONFIRMED), key=lambda call: call.ended
    )
    count, latest, done = 0, -1, 0
    for call in sorted(calls, key=lambda call: call.began):
        while done < len(confirmed) and confirmed[done].ended <= call.began:
            latest = max(latest, places[confirmed[done].message])
            done += 1
        count += places[call.message] < latest
    return count
