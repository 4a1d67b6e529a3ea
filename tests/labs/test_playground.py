"""What the playground's page says of its five situations, and of the slider to move then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labs.playground import SITUATIONS, Sample, Settings, run

OUTAGE = range(20, 30)  # in these seconds


def after(situation: str, **moved: Any) -> list[Sample]:
    """Return the run of a situation in which some sliders were moved."""
    return run(replace(SITUATIONS[situation], **moved))


def test_a_poison_message_takes_the_attempts_of_the_others() -> None:
    poisoned, limited = after("Poison message"), after("Poison message", limit=3)
    assert {each.attempts for each in poisoned[-30:]} == {6}
    assert poisoned[-1].waiting > 50
    assert max(each.waiting for each in limited) < 5


def test_a_slow_consumer_holds_what_others_could_do() -> None:
    hoards, shares = after("Slow consumer"), after("Slow consumer", prefetch=1)
    assert {each.waiting for each in hoards} == {0}
    assert round(hoards[-1].oldest) == 48
    assert max(each.oldest for each in shares) <= 6


def test_a_retry_storm_ends_in_dead_letters_and_a_delay_in_none() -> None:
    storm, delayed = after("Retry storm"), after("Retry storm", pause=4)
    assert max(each.attempts for each in storm) == 30
    assert (storm[OUTAGE.start - 1].dead, storm[OUTAGE.stop].dead, storm[-1].dead) == (0, 41, 41)
    assert delayed[-1].dead == 0
    assert delayed[-1].waiting <= 1


def test_a_hot_key_is_helped_by_no_worker() -> None:
    for workers in (3, 8):
        assert after("Hot key", workers=workers)[-1].waiting > 60


def test_who_crashes_before_acknowledging_does_tasks_twice() -> None:
    assert after("Crash before acknowledging")[-1].twice == 25
    for moved in ({"prefetch": 10}, {"workers": 6}, {"limit": 20}, {"pause": 4}, {"ttl": 30}):
        assert after("Crash before acknowledging", **moved)[-1].twice > 20
    assert after("Crash before acknowledging", crash=0)[-1].twice == 0


def test_what_waits_too_long_is_a_dead_letter() -> None:
    late = run(Settings(rate=8, ttl=2))
    assert late[-1].dead > 100
    assert max(each.oldest for each in late) < 3


def test_the_same_settings_give_the_same_run() -> None:
    assert run(Settings(failure=0.2)) == run(Settings(failure=0.2))


def test_faults_of_the_world_strike_at_their_second() -> None:
    usual = run(Settings())
    assert (usual[-1].twice, usual[-1].dead) == (0, 0)
    for fault, twice in (("kill", 0), ("lose", 1), ("twice", 1), ("slower", 0)):
        struck = run(Settings(faults=[(20.0, fault)]))
        assert struck[:19] == usual[:19], fault
        assert struck[-1].twice == twice, fault
        assert (max(each.oldest for each in struck) > 5) is (fault == "slower"), fault


def test_a_worker_that_is_killed_twice_holds_nothing() -> None:
    killed = run(Settings(rate=1, faults=[(20.0, "kill"), (20.0, "kill"), (20.5, "kill")]))
    assert killed[-1].oldest < 1
