"""Publish–subscribe: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage

EVENTS = [f"uploaded {name}.mp4" for name in ("ant", "bee", "cat", "dog")]
SUBSCRIBERS = ("thumbnailer", "notifier")


@claim("Every subscriber gets every event, in the order in which they were published.")
def test_every_subscriber_gets_every_event(stage: Stage, holds: bool) -> None:
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    receivers = [stage.spawn("receive", subscriber=name) for name in SUBSCRIBERS]
    stage.call("publish", events=EVENTS)
    for receiver in receivers:
        assert stage.happens(lambda one=receiver: len(one.done) >= len(EVENTS), *receivers)
        assert receiver.done == EVENTS


@claim("What was published while a subscriber was away arrives when it returns.")
def test_a_subscriber_who_was_away_misses_nothing(stage: Stage, holds: bool) -> None:
    stage.call("subscribe", subscriber="notifier")
    stage.call("publish", events=EVENTS[:2])
    before = stage.spawn("receive", subscriber="notifier", limit=2)
    assert stage.happens(lambda: before.returned, before)
    stage.call("publish", events=EVENTS[2:])
    after = stage.spawn("receive", subscriber="notifier")
    assert stage.happens(lambda: len(after.done) >= 2, after)
    assert before.done + after.done == EVENTS


@claim("A subscriber who hangs or fails does not hold up the others.")
def test_a_failed_subscriber_holds_up_nobody(stage: Stage, holds: bool) -> None:
    for name in (*SUBSCRIBERS, "archiver"):
        stage.call("subscribe", subscriber=name)
    hanging = stage.spawn("receive", subscriber="thumbnailer", mode="hold")
    failing = stage.spawn("receive", subscriber="archiver", mode="fail")
    stage.call("publish", events=EVENTS[:1])
    assert stage.happens(lambda: bool(hanging.taken) and bool(failing.error), hanging, failing)
    healthy = stage.spawn("receive", subscriber="notifier")
    stage.call("publish", events=EVENTS[1:])
    assert stage.happens(lambda: len(healthy.done) >= len(EVENTS), healthy, hanging, failing)
    assert healthy.done == EVENTS


@claim("An event whose subscriber failed comes again, to that subscriber and to no other.")
def test_a_failed_event_comes_again(stage: Stage, holds: bool) -> None:
    for name in SUBSCRIBERS:
        stage.call("subscribe", subscriber=name)
    healthy = stage.spawn("receive", subscriber="notifier")
    failing = stage.spawn("receive", subscriber="thumbnailer", mode="fail")
    stage.call("publish", events=EVENTS)
    assert stage.happens(lambda: bool(failing.error), failing)
    again = stage.spawn("receive", subscriber="thumbnailer")
    assert stage.happens(lambda: len(again.done) >= len(EVENTS), again)
    assert again.done == EVENTS
    assert stage.happens(lambda: len(healthy.done) >= len(EVENTS), healthy)
    assert stage.stays(lambda: healthy.done == EVENTS, 0.5)
