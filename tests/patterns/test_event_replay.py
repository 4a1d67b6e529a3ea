"""Event replay: what it promises, on every broker."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any

import redis

from tests.brokers.redis import Redis
from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage


def viewed(video: str, **more: object) -> str:
    return json.dumps({"kind": "viewed", "video": f"{video}.mp4", **more})


def state(stage: Stage, reader: str) -> dict[str, Any]:
    """Return what a reader has stored; it writes the file in one step."""
    found: dict[str, Any] = json.loads((stage.snippet.parent / reader).read_text())
    return found


def both_are_counted(stage: Stage, reader: str) -> bool:
    return len(state(stage, reader)["views"]) == 2


def counts(*events: str) -> dict[str, int]:
    return dict(Counter(json.loads(event)["video"] for event in events))


FIRST = [viewed("cat"), viewed("cat"), viewed("dog")]
#: Of a publisher that is slow to finish, and of one that overtakes it meanwhile.
SLOW = [viewed("cow", n=1), viewed("cow", n=2)]
FAST = [viewed("dog", n=3)]
LAST = [viewed("cat", n=4), viewed("ant", n=5)]

LACKS = "A new reader's state lacks events that the live reader has counted."
PASSED_OVER = "The live reader passes over the events of a publisher that is slow to finish."
NOTHING_KEPT = "A new reader gets nothing of what was published before it came."
TWICE = "The killed reader counts an event a second time."
NOT_COUNTED = "An event that lacks a newer field is not counted."
NOT_KEPT = "The malformed event is nowhere to be seen."


@claim(
    "A new reader builds from the kept events the state that the live reader has, and goes on"
    " from there; the live reader notices nothing.",
    promise=True,
    seen=LACKS,
    minibroker=holds("end = len(BROKER.logs[LOG])", "end = 0"),
    rabbitmq=holds(
        '{"x-stream-offset": position}', '{"x-stream-offset": "last" if mark else position}'
    ),
    kafka=holds("seek_to_beginning(VIEWS)", "seek_to_end(VIEWS)"),
    nats=holds(
        "            take(state, message.metadata.sequence.stream, message.data)\n    save",
        '            state["at"] = message.metadata.sequence.stream + 1\n    save',
    ),
    redis=holds('take(state, number, fields.get("event", str(fields)))', 'state["at"] = number'),
    mqtt=differs(
        "A new reader gets the last event of each topic, and none of those before it.",
        "body, retain=True",
        "body",
        seen=NOTHING_KEPT,
    ),
    postgresql=holds(
        "await db.execute(ONE_PUBLISHER)",
        "pass",
        with_help="a table of events, whose publishers take turns",
        seen=PASSED_OVER,
    ),
)
def test_a_new_reader_has_the_live_readers_state(stage: Stage) -> None:
    stage.call("replay", file="live")
    live = stage.spawn("follow", file="live")
    stage.call("publish", events=FIRST)
    assert stage.happens(lambda: len(live.done) >= len(FIRST), live)

    slow = stage.spawn("publish", events=SLOW, mode="halfway")
    assert stage.happens(lambda: slow.halfway, slow)
    fast = stage.spawn("publish", events=FAST)
    # On PostgreSQL it has to wait. Where it need not, the live reader is ahead of the slow one.
    stage.stays(lambda: FAST[0] not in live.done, 3 if stage.key == "postgresql" else 0.5)
    slow.go_on()
    assert stage.happens(lambda: slow.returned and fast.returned, slow, fast)
    published = [*FIRST, *SLOW, *FAST]
    # Whoever follows gets the last one; on PostgreSQL that is all there must be.
    assert stage.happens(lambda: FAST[0] in live.done, live)
    assert stage.in_time(lambda: len(live.done) >= len(published), live), PASSED_OVER

    rebuilt = stage.call("replay", file="new")
    if stage.holds:
        assert rebuilt["views"] == counts(*published), LACKS
    else:
        last = {"cat.mp4": 1, "cow.mp4": 1, "dog.mp4": 1}
        assert rebuilt["views"] == last, NOTHING_KEPT
    new = stage.spawn("follow", file="new")
    stage.call("publish", events=LAST)
    assert stage.happens(lambda: len(new.done) >= len(LAST), new)
    assert stage.happens(lambda: len(live.done) >= len(published + LAST), live)
    assert sorted(live.done) == sorted(published + LAST)
    assert new.done == LAST
    assert stage.happens(lambda: state(stage, "live")["views"] == counts(*published, *LAST), live)
    assert stage.happens(lambda: "ant.mp4" in state(stage, "new")["views"], new)
    assert stage.holds == (state(stage, "new") == state(stage, "live"))


SAVED = "new.write_text(json.dumps(state))"
FORGOTTEN = 'new.write_text(json.dumps(state | {"at": %d}))'


@claim(
    "A reader that is killed goes on where its state ends, and counts nothing twice.",
    seen=TWICE,
    minibroker=holds(SAVED, FORGOTTEN % 0),
    rabbitmq=holds(SAVED, FORGOTTEN % 0),
    kafka=holds(SAVED, FORGOTTEN % 0),
    nats=holds(SAVED, FORGOTTEN % 1),
    redis=holds(SAVED, FORGOTTEN % 0),
    mqtt=differs("An event that was counted, and not yet acknowledged, is counted again."),
    postgresql=holds(SAVED, FORGOTTEN % 0),
)
def test_a_killed_reader_goes_on(stage: Stage) -> None:
    # The handler is also told when the state is stored, so that a reader can be killed there.
    stored = "        save(file, state)"
    stage.replace(stored, f'{stored}; await handle("stored")')
    events = [viewed("cat"), viewed("dog"), viewed("cat", n=2)]
    stage.call("replay", file="live")
    killed = stage.spawn("follow", file="live", mode="hold", only="dog")
    stage.call("publish", events=events)
    assert stage.happens(lambda: events[1] in killed.taken, killed)
    killed.kill()
    # The dog was not counted: it comes again, and the reader is killed once it is.
    killed = stage.spawn("follow", file="live", mode="hold", only="stored")
    assert stage.happens(lambda: "stored" in killed.taken, killed)
    killed.kill()
    assert killed.done == [events[1]], TWICE
    third = stage.spawn("follow", file="live")
    stage.call("publish", events=LAST)
    assert stage.happens(lambda: LAST[-1] in third.done and third.done[-1] == "stored", third)
    twice = [] if stage.holds else [events[1]]
    assert [event for event in third.done if event != "stored"] == [*twice, events[2], *LAST], TWICE
    assert state(stage, "live")["views"] == counts(*events, *LAST, *twice)


@claim(
    "A reader ignores fields and kinds that it does not know, and counts old events that lack a"
    " field with the default for it.",
    seen=NOT_COUNTED,
    **dict.fromkeys(
        ("minibroker", "rabbitmq", "kafka", "nats", "redis", "mqtt", "postgresql"),
        holds("ADDED | json.loads(", "json.loads("),
    ),
)
def test_readers_are_tolerant(stage: Stage) -> None:
    old = json.dumps({"video": "cat.mp4"})
    new = viewed("dog", country="AT", device={"kind": "television"})
    renamed = json.dumps({"kind": "watched", "film": "cow.mp4"})
    stage.call("publish", events=[old, new, renamed])
    by_video = stage.call("replay", file="v1")
    assert by_video["views"] == {"cat.mp4": 1, "dog.mp4": 1}, NOT_COUNTED
    by_country = stage.call("replay", file="v2", by="country")
    assert by_country["views"] == {"unknown": 1, "AT": 1}
    assert by_video["ignored"] == by_country["ignored"] == {"watched": 1}
    assert by_video["aside"] == by_country["aside"] == {}


#: No JSON, no object, no video, no text, JSON that is too deep for Python; and not UTF-8.
MALFORMED = [
    "viewed dog.mp4",
    '["viewed", "dog.mp4"]',
    '{"kind": "viewed"}',
    '{"kind": "viewed", "video": 7}',
    "[" * 100_000,
    '{"kind": "viewed", "video": "c\udcfcw.mp4"}',
]
ASIDE = 'state["aside"][str(position)] = body.decode(errors="surrogateescape")'


@claim(
    "A malformed event stops neither the live reader nor a replay: each sets it aside, where it"
    " can be seen.",
    seen=NOT_KEPT,
    minibroker=holds('state["aside"][str(position)] = body', "pass"),
    rabbitmq=holds(ASIDE, "pass"),
    kafka=holds(ASIDE, "pass"),
    nats=holds(ASIDE, "pass"),
    redis=holds('state["aside"][position] = body', "pass"),
    mqtt=holds(ASIDE.replace("str(position)", "topic"), "pass"),
    postgresql=holds(ASIDE, "pass"),
)
def test_malformed_events_are_set_aside(stage: Stage) -> None:
    # The minibroker holds texts and no bytes: nothing in it is not UTF-8.
    malformed = MALFORMED[: -1 if stage.key == "minibroker" else None]
    stage.call("replay", file="live")
    live = stage.spawn("follow", file="live")
    healthy = [viewed("cat"), viewed("dog")]
    if isinstance(stage.server, Redis):
        with redis.Redis.from_url(stage.server.address) as client:
            client.xadd("views", {"thing": "?"})  # no field of the name that is expected
        malformed = [*malformed, "{'thing': '?'}"]
    stage.call("publish", events=[healthy[0], *malformed[: len(MALFORMED)], healthy[1]])
    assert stage.happens(lambda: len(live.done) >= 2, live)
    assert live.done == healthy
    stage.call("replay", file="new")
    for reader in ("live", "new"):
        assert stage.happens(partial(both_are_counted, stage, reader))
        assert sorted(state(stage, reader)["aside"].values()) == sorted(malformed), NOT_KEPT
