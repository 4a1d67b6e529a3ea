"""The checker, on histories that were made wrong by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.atlas.checker import Verdict, check
from tests.atlas.history import REFUSED, UNKNOWN, Call, Event, History


def right() -> History:
    """Return a history of ten messages, one each second, all of them confirmed and there."""
    calls = [Call(n, float(n), "confirmed", n + 0.5) for n in range(10)]
    return History(calls, [Event(3.0, "the fault begins")], list(range(10)), 10.0)


def wrong(change: Callable[[History], object]) -> Verdict:
    history = right()
    change(history)
    return check(history)


def test_a_right_history_has_no_fault() -> None:
    assert check(right()) == Verdict(
        published=10,
        confirmed=10,
        refused=0,
        unknown=0,
        lost=0,
        twice=0,
        out_of_order=0,
        unknown_there=0,
        refused_there=0,
        strangers=0,
        gap=1.0,
    )


def test_a_confirmed_message_that_is_not_there_is_lost() -> None:
    verdict = wrong(lambda history: history.read.remove(4))
    assert (verdict.lost, verdict.out_of_order) == (1, 0)


@pytest.mark.parametrize("outcome", [REFUSED, UNKNOWN])
def test_a_message_without_a_confirm_that_is_not_there_is_not_lost(outcome: str) -> None:
    def unconfirmed(history: History) -> None:
        history.calls[4].outcome = outcome
        history.read.remove(4)

    verdict = wrong(unconfirmed)
    assert verdict.lost == verdict.unknown_there == verdict.refused_there == 0
    assert (verdict.confirmed, verdict.refused + verdict.unknown) == (9, 1)


def test_a_message_without_a_confirm_that_is_there_is_counted() -> None:
    def unconfirmed(history: History) -> None:
        history.calls[4].outcome = UNKNOWN
        history.calls[5].outcome = REFUSED

    verdict = wrong(unconfirmed)
    assert (verdict.unknown_there, verdict.refused_there) == (1, 1)


def test_each_further_copy_counts_as_twice_and_not_as_out_of_order() -> None:
    verdict = wrong(lambda history: history.read.extend([2, 2, 7]))
    assert (verdict.twice, verdict.out_of_order, verdict.lost) == (3, 0, 0)


def test_a_message_that_comes_before_an_earlier_one_is_out_of_order() -> None:
    verdict = wrong(lambda history: history.read.insert(2, history.read.pop(9)))
    assert verdict.out_of_order == 1


def test_calls_that_overlap_have_no_order() -> None:
    def overlapping(history: History) -> None:
        history.calls[4].ended = 5.2
        history.read[4:6] = [5, 4]

    assert wrong(overlapping).out_of_order == 0


def test_a_message_that_nobody_published_is_a_stranger() -> None:
    verdict = wrong(lambda history: history.read.append(77))
    assert (verdict.strangers, verdict.lost) == (1, 0)


def test_the_gap_reaches_to_the_end_of_the_load() -> None:
    def silent(history: History) -> None:
        for call in history.calls[5:]:
            call.outcome = UNKNOWN

    assert wrong(silent).gap == 10.0 - 4.5


def test_the_gap_begins_with_the_load() -> None:
    def late(history: History) -> None:
        for call in history.calls[:5]:
            call.outcome = REFUSED

    assert wrong(late).gap == 5.5


def test_a_history_that_was_packed_is_the_same_again() -> None:
    history = right()
    history.calls[4].outcome, history.calls[4].why = UNKNOWN, "no answer in 5 s"
    history.read += [2, 77]
    packed = history.packed()
    assert History.unpacked(packed) == history
    assert packed == history.packed()
