"""Idempotent receiver: one effect, however often a message comes and whoever is killed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.brokers import Server
from tests.brokers.server import wait_until
from tests.patterns.claims import Proof, claim, differs, holds
from tests.patterns.stage import Actor, Stage
from tests.patterns.steps import Steps, step
from tests.snippets.running import beginning_with

ID, OTHER_ID = "5f0c1a52-6e1f-4f6e-9a55-2d1c9e1d7a01", "5f0c1a52-6e1f-4f6e-9a55-2d1c9e1d7a02"
CAT = "viewed cat.mp4"
COUNTED, DUPLICATE = "counted a view of cat.mp4", "dropped a duplicate view of cat.mp4"

SERVERS = ("rabbitmq", "kafka", "nats", "redis", "mqtt", "postgresql")
INBOX = "a table of message ids in the receiver's database"

COPIES = "Copies of the view are counted, too."
TWICE = "The view is counted a second time."
UNCOUNTED = "The view is not counted, although a later one is."
BOTH = "Both receivers count the view."
NOT_KEPT = "What is malformed is not kept."

RECEIVED = re.compile(r"^( +)try:\n +number, view = ", re.MULTILINE)
#: The effect, with its commit where it has one of its own.
EFFECT = re.compile(
    r"^( +)(?:await db|DB)\.execute\(COUNT, .*\)\n"
    r"(?:\1(?:await db\.execute\(\"COMMIT\"\)|DB\.commit\(\))\n)?",
    re.MULTILINE,
)


def steps_of(stage: Stage) -> Steps:
    """Put steps into the snippet's copy: "received" before all, "before" and "after" the effect."""
    code = "".join(file.read_text() for file in stage.snippet.parent.glob("*.py"))
    [received], [effect] = RECEIVED.finditer(code), EFFECT.finditer(code)
    stage.replace(received[0], f"{received[1]}{step('received')}\n{received[0]}")
    around = [f"{effect[1]}{step(name)}\n" for name in ("before", "after")]
    stage.replace(effect[0], effect[0].join(around))
    return Steps(stage)


def kill_after_the_commit(stage: Stage) -> str:
    """Start a receiver, and kill it before it acknowledges; return what it said of its message."""
    killed = stage.spawn("receive", receiver="A", mode="hold")
    assert stage.happens(lambda: bool(killed.taken), killed)
    killed.kill()
    return killed.taken[0]


def come_to(stage: Stage, views: int) -> bool:
    """Whether so many are counted. On PostgreSQL the last one's commit comes after its handler."""
    return stage.in_time(lambda: stage.call("views").get("cat.mp4") == views)


def everywhere(line: str, instead: str, *, with_help: str = "") -> dict[str, Proof]:
    """Return the proof on the brokers whose receivers share an inbox, and on SQLite."""
    proofs = dict.fromkeys(SERVERS, holds(line, instead, with_help=with_help))
    for text, sqlite in (
        ('await db.execute("SELECT pg_sleep(0.1)")', "await asyncio.sleep(0.1)"),
        ('await db.execute("COMMIT")', "DB.commit()"),
        ("await db.", "DB."),
        ("[number]", "[str(number)]"),
        ("view[1].decode()", "view[1]"),
        ("{view[1].decode()}", "{view[1]}"),
        ("%s", "?"),
        ("SELECT FROM", "SELECT 1 FROM"),
        ("\n    ", "\n"),
    ):
        line, instead = line.replace(text, sqlite), instead.replace(text, sqlite)
    return {"minibroker": holds(line, instead, with_help=with_help), **proofs}


ASK = "new = await db.execute(REMEMBER, [number])"
REPEATED = """
        if not new.rowcount:
            return f"dropped a duplicate view of {view[1].decode()}"
        """
EFFECT_LINE = "await db.execute(COUNT, [view[1].decode()])"
LOOK = 'new = await db.execute("SELECT FROM inbox WHERE id = %s", [number])'
KNOWN = REPEATED.replace("not new.rowcount", "new.rowcount")
COMMIT = 'await db.execute("COMMIT")'
#: How the receiver on PostgreSQL takes a message.
TAKE = """async with db.transaction():
                found = await db.execute(NEXT)"""


def look_first(after_the_look: str, after_the_effect: str) -> dict[str, Proof]:
    """Return proofs whose change looks the id up, has the effect, and then remembers the id."""
    line = f"{ASK}{REPEATED}{EFFECT_LINE}"
    remember = "await db.execute(REMEMBER, [number])"
    parts = (after_the_look, EFFECT_LINE, after_the_effect, remember)
    proofs = everywhere(line, f"{LOOK}{KNOWN}" + "\n        ".join(part for part in parts if part))
    mini = proofs["minibroker"]
    assert mini.line
    assert mini.instead
    known = "if new.rowcount:"
    assert known in mini.instead
    proofs["minibroker"] = holds(mini.line, mini.instead.replace(known, "if new.fetchone():"))
    return proofs


def noted(proofs: dict[str, Proof], **notes: str) -> dict[str, Proof]:
    """Return the proofs with what the page says of some of them."""
    return proofs | {key: replace(proofs[key], says=says) for key, says in notes.items()}


@claim(
    "Ten copies of a message, with one message id, have one effect.",
    promise=True,
    seen=COPIES,
    **everywhere("if not new.rowcount:", "if False:", with_help=INBOX),
)
def test_ten_copies_have_one_effect(stage: Stage) -> None:
    stage.call("declare")
    stage.call("publish", events=[[ID, CAT]] * 10 + [[OTHER_ID, CAT]])
    receiver = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: len(receiver.done) >= 11, receiver)
    assert come_to(stage, 2), COPIES
    assert Counter(receiver.done)[COUNTED] == 2


@claim(
    "A receiver that is killed between the effect and the acknowledgement gets the message again"
    " when it is back, and the effect does not happen again.",
    seen=TWICE,
    **look_first("", COMMIT)
    | {
        "postgresql": holds(
            EFFECT_LINE,
            f"async with connect() as db:\n            {EFFECT_LINE}",
            says="The message goes with the same commit: a redelivery finds no effect at all.",
        )
    },
)
def test_a_kill_after_the_effect_does_not_repeat_it(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    stage.call("publish", events=[[ID, CAT]])
    steps.kill_at("after", "receive", receiver="A")
    kill_after_the_commit(stage)
    again = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: bool(again.done), again)
    assert come_to(stage, 1), TWICE
    # In PostgreSQL the message goes with the same commit: its effect was rolled back each time.
    assert again.done == [COUNTED if stage.key == "postgresql" else DUPLICATE]


@claim(
    "A receiver that is killed before the effect gets the message again when it is back: the effect"
    " is not lost.",
    seen=UNCOUNTED,
    **everywhere(ASK, f"{ASK}\n        {COMMIT}")
    | {
        "postgresql": holds(
            TAKE,
            """if True:
                found = await db.execute("DELETE FROM queue WHERE id = ("
                    "SELECT min(id) FROM queue) RETURNING id, message_id, body")""",
        )
    },
)
def test_a_kill_before_the_effect_does_not_lose_it(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    stage.call("publish", events=[[ID, CAT]])
    steps.kill_at("before", "receive", receiver="A")
    stage.call("publish", events=[[OTHER_ID, "viewed dog.mp4"]])
    again = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: "counted a view of dog.mp4" in again.done, again)
    assert come_to(stage, 1), UNCOUNTED


def have_done(receivers: Sequence[Actor], events: int) -> bool:
    return sum(len(one.done) for one in receivers) >= events


def both_receive(stage: Stage, *receivers: Actor) -> bool:
    """Publish events of no interest until each receiver has had one, and all are done."""
    rounds = count(1)

    def one_more_round() -> bool:
        stage.call("publish", events=[[str(uuid4()), "viewed warm-up.mp4"] for _ in "ab"])
        wait_until(partial(have_done, receivers, 2 * next(rounds)), "both", stage.seconds)
        return all(one.done for one in receivers)

    return stage.happens(one_more_round, *receivers)


@claim(
    "Two receivers that have the same message at the same moment have one effect between them.",
    seen=BOTH,
    **{
        **noted(
            look_first('await db.execute("SELECT pg_sleep(0.1)")', ""),
            minibroker="Nothing is awaited in the transaction, so nobody comes in between.",
        ),
        "kafka": differs("The group gives a partition to one of them, and the other waits."),
    },
)
def test_two_receivers_at_the_same_moment_have_one_effect(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    copies = [[ID, CAT]] * 2  # each gets one
    stopped = received = None
    waited = True
    if stage.key not in ("minibroker", "mqtt"):
        stage.call("publish", events=copies)
        stopped = steps.stop_next_at("before")
    receivers = [stage.spawn("receive", receiver=name) for name in "AB"]

    def said() -> list[str]:
        return [what for one in receivers for what in one.done if "cat" in what]

    if stage.key in ("minibroker", "mqtt"):  # what is there already would all go to the first
        assert both_receive(stage, *receivers)
        received = steps.count("received")
        if stage.key == "mqtt":
            stopped = steps.stop_next_at("before")
        stage.call("publish", events=copies)
    if stage.key == "kafka":
        assert stopped
        assert stage.happens(stopped, *receivers)
        assert stage.stays(lambda: steps.count("received") == 1, 2)
        steps.go_on("before")
    elif stopped:  # in the minibroker's process nothing can come in between
        assert stage.happens(stopped, *receivers)
        both = (received or 0) + 2
        assert stage.happens(lambda: steps.count("received") >= both, *receivers)
        waited = stage.stays(lambda: not said(), 0.5)  # the second, for the first
        steps.go_on("before")
    assert stage.happens(lambda: len(said()) >= 2, *receivers)
    # On PostgreSQL the last one's commit comes after its handler.
    assert stage.stays(lambda: stage.call("views")["cat.mp4"] == 1, 0.5), BOTH
    assert waited
    assert stage.happens(lambda: COUNTED in said(), *receivers)
    assert Counter(said())[COUNTED] == 1


#: Makes aio-pika send a message without an id; by itself it makes one up.
NO_IDS = """from types import SimpleNamespace

import aiormq.channel

aiormq.channel.UUID = lambda **_: SimpleNamespace(hex="")
"""
MALFORMED = [
    ["", CAT],
    ["17", CAT],
    ["viewed-by-somebody-in-some-other-way", CAT],
    [OTHER_ID, "viewed "],
    [OTHER_ID, "liked cat.mp4"],
    [OTHER_ID, "viewed cat.mp4; DROP TABLE views"],
    [OTHER_ID, "viewed chat\xe9.mp4"],  # sent as a byte that is not UTF-8
    [OTHER_ID, "viewed \x00.mp4"],
    [OTHER_ID, "viewed " + "long" * 1000],
]


@claim(
    "A message without a usable id, or with a body that makes no sense, is kept aside, and the next"
    " one is counted.",
    seen=NOT_KEPT,
    **everywhere('await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])', "pass"),
)
def test_a_malformed_message_is_kept_aside(stage: Stage) -> None:
    if stage.key != "minibroker":
        stage.replace("event.encode()", 'event.encode("latin-1")')
    if stage.key == "rabbitmq":
        text = stage.snippet.read_text()
        stage.snippet.write_text(beginning_with(NO_IDS, text))
    stage.call("declare")
    stage.call("publish", events=[*MALFORMED, [ID, CAT]])
    receiver = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: COUNTED in receiver.done, receiver)
    kept: list[str] = stage.call("refused")
    assert kept, NOT_KEPT
    assert len(kept) == len(MALFORMED)
    assert sum(f"id {message_id!r}" in text for text in kept for message_id in ("", "17")) == 2
    assert come_to(stage, 1)


@pytest.mark.broker("redis")
def test_what_a_receiver_held_that_never_comes_back_is_counted_by_another(
    server: Server, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    topic = "patterns/idempotent_receiver"
    with Stage.of(topic, "redis", server, tmp_path, addresses=addresses) as stage:
        steps = steps_of(stage)
        stage.call("declare")
        stage.call("publish", events=[[ID, CAT]])
        steps.kill_at("before", "receive", receiver="pod-1")
        other = stage.spawn("receive", receiver="pod-2")
        assert stage.happens(lambda: other.done == [COUNTED], other)
        assert come_to(stage, 1)


@pytest.mark.broker("postgresql")
def test_a_queue_in_the_same_database_repeats_no_effect_without_an_inbox(
    server: Server, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    events: list[Any] = [[ID, CAT]]
    topic = "patterns/idempotent_receiver"
    with Stage.of(topic, "postgresql", server, tmp_path, addresses=addresses) as stage:
        stage.replace("if not new.rowcount:", "if False:")
        steps = steps_of(stage)
        stage.call("declare")
        stage.call("publish", events=events)
        for name in ("received", "before", "after"):
            steps.kill_at(name, "receive", receiver="A")
        assert kill_after_the_commit(stage) == COUNTED
        again = stage.spawn("receive", receiver="A")
        assert stage.happens(lambda: bool(again.done), again)
        assert come_to(stage, 1)
        stage.call("publish", events=events)  # a copy that was published is another matter
        assert stage.happens(lambda: len(again.done) == 2, again)
        assert come_to(stage, 2)
