"""Transactional outbox: what it promises, on every broker, whoever is killed and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.patterns.claims import Proof, claim, differs, holds
from tests.patterns.stage import AT_ONCE, Stage
from tests.patterns.steps import Steps, step

TOPIC = "patterns/transactional_outbox"
#: More than a batch, which is 10.
VIDEOS = [f"{number:02}.mp4" for number in range(1, 13)]
EVENTS = [f"uploaded {video}" for video in VIDEOS]
BATCH = 10

SERVERS = ("rabbitmq", "kafka", "nats", "redis", "mqtt")
#: The file in which an upload is written.
HOME = dict.fromkeys(SERVERS, "outbox.py") | {"postgresql": "on_postgresql.py"}
WITH_A_RELAY = ("minibroker", *SERVERS)
TABLE_AND_RELAY = "a table in the service's database, and a relay that empties it"
NO_RELAY = differs("There is no relay: the receiver takes the event from the table itself.")

NEVER = "The upload is committed, and its event is never published."
GHOST = "An event is published about an upload that was rolled back."
LOST = "The events of the killed relay's batch are gone."
RENAMED = "An event that is repeated has another message id."
AGAIN = "The events of the killed relay's batch arrive twice."
UNORDERED = "The second relay publishes before the first has finished its batch."

COMMIT = "DB.commit()  # both rows, or none"
#: The two rows of an upload, in their transaction.
VIDEO = "await db.execute(VIDEO, [video])"
WRITE = 'await db.execute(EVENT, [f"uploaded {video}"])'
ROWS = f"{VIDEO}\n            {WRITE}"
CONFIRMED = "await publish(rows)"
#: Each step of a relay, and the text before which it is; other text on the minibroker.
STEPS = {
    "waiting": ("rows = await (await db.execute(NEXT", "async with RELAYING:"),
    "locked": ("async with asyncio.timeout(CONFIRM_SECONDS)", "for number, event in rows:"),
    "read": (CONFIRMED, "for number, event in rows:"),
    "published": ("await db.execute(DELETE, [[number", "DB.execute(DELETE, [rows[-1][0]])"),
    "deleted": ("return len(rows)", "return len(rows)"),
}


def put_before(stage: Stage, place: str, name: str) -> None:
    """Put a step before the last line that begins like this."""
    code = "".join(file.read_text() for file in stage.snippet.parent.glob("*.py"))
    line = [line for line in code.splitlines() if line.strip().startswith(place)][-1]
    indent = line[: -len(line.strip())]
    stage.replace(f"\n{line}\n", f"\n{indent}{step(name)}\n{line}\n")


def steps_of(stage: Stage) -> Steps:
    """Put the steps into the snippet's copy, but for those that its change has already."""
    mini = stage.key == "minibroker"
    if stage.key in WITH_A_RELAY:
        for name, places in STEPS.items():
            put_before(stage, places[mini], name)
    if mini:
        put_before(stage, COMMIT, "written")
        comment = COMMIT.partition("  ")[2]
        stage.replace(f"  {comment}", f"\n            {step('committed')}")
    elif not stage.without or ROWS in stage.snippet.with_name(HOME[stage.key]).read_text():
        written, committed = step("written"), step("committed")
        stage.replace(ROWS, f"{ROWS}\n            {written}\n        {committed}")
    return Steps(stage)


def everywhere(line: str, instead: str, *, with_help: str = "") -> dict[str, Proof]:
    """Return the proof on the brokers whose snippets have the same text."""
    return dict.fromkeys(SERVERS, holds(line, instead, with_help=with_help))


#: The dual write: the service publishes by itself, after its commit or before it.
MINI_WRITE = 'DB.execute(EVENT, [f"uploaded {video}"])'
MINI_PUBLISH = 'BROKER.publish(QUEUE, f"uploaded {video}")'
THEN = "\n            "
#: The same with two commits: the event's own after the upload's, or before it.
AFTER = f"{VIDEO}\n        {step('committed')}\n        {WRITE}"
BEFORE = f"""{VIDEO}
            async with connect() as other:
                {WRITE.replace("db", "other")}
            {step("written")}"""


@claim(
    "An upload that was committed is published, even if its process was killed right then.",
    promise=True,
    seen=NEVER,
    minibroker=holds(
        f"{MINI_WRITE}{THEN}{COMMIT}",
        f"{COMMIT}{THEN}{MINI_PUBLISH}",
        with_help=TABLE_AND_RELAY,
    ),
    **everywhere(ROWS, AFTER, with_help=TABLE_AND_RELAY),
    postgresql=holds(ROWS, AFTER),
)
def test_what_was_committed_is_published(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    steps.kill_at("committed", "upload", videos=VIDEOS[:1])
    stage.call("upload", videos=VIDEOS[1:2])
    relay, receiver = stage.spawn("relay"), stage.spawn("receive")
    assert stage.happens(lambda: EVENTS[1] in receiver.done, receiver, relay)
    assert set(receiver.done) == set(EVENTS[:2]), NEVER


@claim(
    "An upload that was rolled back publishes nothing.",
    seen=GHOST,
    minibroker=holds(MINI_WRITE, MINI_PUBLISH),
    **everywhere(ROWS, BEFORE),
    postgresql=holds(ROWS, BEFORE),
)
def test_what_was_rolled_back_is_not_published(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    steps.kill_at("written", "upload", videos=VIDEOS[:1])
    stage.call("upload", videos=VIDEOS[1:2])
    relay, receiver = stage.spawn("relay"), stage.spawn("receive")
    assert stage.happens(lambda: EVENTS[1] in receiver.done, receiver, relay)
    assert receiver.done == EVENTS[1:2], GHOST


DELETE = "await db.execute(DELETE, [[number for number, _ in rows]])"


@claim(
    "A relay that is killed before or after it publishes a batch loses no event: the next one"
    " publishes what is left.",
    seen=LOST,
    minibroker=holds(
        """for number, event in rows:
        BROKER.publish(QUEUE, event, message_id=str(number), publisher="relay")
    if rows:  # after publishing: a crash here repeats, rather than loses
        DB.execute(DELETE, [rows[-1][0]])""",
        """if rows:
        DB.execute(DELETE, [rows[-1][0]])
        DB.commit()
    for number, event in rows:
        BROKER.publish(QUEUE, event, message_id=str(number))""",
    ),
    **everywhere(
        CONFIRMED,
        f"{DELETE}; await db.execute('COMMIT')\n                    {CONFIRMED}",
    ),
    postgresql=NO_RELAY,
)
def test_a_killed_relay_loses_nothing(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    stage.call("upload", videos=VIDEOS)
    if stage.holds:
        for name in ("read", "published"):
            steps.kill_at(name, "relay")
    relay, receiver = stage.spawn("relay"), stage.spawn("receive")
    assert stage.happens(lambda: EVENTS[-1] in receiver.done, receiver, relay)
    assert set(receiver.done) == set(EVENTS), LOST


@claim(
    "A killed relay repeats no more than its batch, and each event under the same message id.",
    seen=RENAMED,
    minibroker=holds("message_id=str(number)", 'message_id=__import__("os").urandom(8).hex()'),
    rabbitmq=holds(
        ", message_id=str(number)",
        "",
        says="Without an id from you, aio-pika makes a new one each time.",
    ),
    kafka=holds(
        "str(number).encode()",
        '__import__("os").urandom(8).hex().encode()',
        says="So it is with `enable_idempotence`, which knows nothing of another process.",
    ),
    nats=differs(
        "Nothing arrives twice: within 2 minutes the stream drops a `Nats-Msg-Id` that it has.",
        'headers={"Nats-Msg-Id": str(number)},',
        "headers={},",
        seen=AGAIN,
    ),
    redis=holds('"id": str(number)', '"id": __import__("os").urandom(8).hex()'),
    mqtt=holds("(ID, str(number))", '(ID, __import__("os").urandom(8).hex())'),
    postgresql=NO_RELAY,
)
def test_a_killed_relay_repeats_one_batch(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    stage.call("upload", videos=VIDEOS)
    if stage.key in WITH_A_RELAY:
        steps.kill_at("deleted", "relay")
    relay, receiver = stage.spawn("relay"), stage.spawn("receive")
    assert stage.happens(lambda: EVENTS[-1] in receiver.done, receiver, relay)
    named = [(event, *more) for event, more in zip(receiver.taken, receiver.more, strict=True)]
    assert len(named) - len(EVENTS) == (BATCH if stage.holds else 0), AGAIN
    assert len(set(named)) == len(EVENTS), RENAMED
    assert len({message_id for _, message_id in named}) == len(EVENTS)


@claim(
    "Of two relays one waits for the other, so that no event overtakes another.",
    seen=UNORDERED,
    minibroker=holds("asyncio.Lock()", "asyncio.Semaphore(2)"),
    **everywhere("LIMIT %s FOR UPDATE", "LIMIT %s FOR UPDATE SKIP LOCKED"),
    postgresql=NO_RELAY,
)
def test_relays_do_not_overtake_each_other(stage: Stage) -> None:
    steps = steps_of(stage)
    stage.call("declare")
    stage.call("upload", videos=VIDEOS)
    receiver = stage.spawn("receive")
    if stage.holds:
        first = steps.stop_at("locked", "relay")
        before = steps.count("waiting")
        second = stage.spawn("relay")
        assert stage.happens(lambda: steps.count("waiting") > before, second)
        assert stage.stays(lambda: not receiver.taken, AT_ONCE), UNORDERED
        first.kill()
    assert stage.happens(lambda: EVENTS[-1] in receiver.done, receiver)
    assert receiver.done == EVENTS


#: What gives a message its id, and would be left out by somebody else's publisher. It can't be
#: left out with aio-pika.
IDS = {
    "minibroker": ", message_id=str(number)",
    "kafka": "headers=[(ID, str(number).encode())],",
    "nats": 'headers={"Nats-Msg-Id": str(number)},',
    "redis": '"id": str(number), ',
    "mqtt": ", UserProperty=[(ID, str(number))]",
}


@pytest.mark.parametrize("key", [pytest.param(key, marks=pytest.mark.broker(key)) for key in IDS])
def test_a_message_without_an_id_is_handed_over_all_the_same(
    key: str, server: Server | None, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    with Stage.of(TOPIC, key, server, tmp_path, addresses=addresses) as stage:
        stage.replace(IDS[key], "")
        stage.call("declare")
        stage.call("upload", videos=VIDEOS[:2])
        stage.spawn("relay")
        receiver = stage.spawn("receive")
        assert stage.happens(lambda: receiver.done == EVENTS[:2], receiver)
        assert receiver.more == [[""], [""]]


@pytest.mark.broker("nats")
def test_an_upload_that_commits_late_is_not_skipped(
    server: Server, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    with Stage.of(TOPIC, "nats", server, tmp_path, addresses=addresses) as stage:
        steps = steps_of(stage)
        stage.call("declare")
        steps.stop_at("written", "upload", videos=VIDEOS[:1])
        stage.call("upload", videos=VIDEOS[1:2])
        relay, receiver = stage.spawn("relay"), stage.spawn("receive")
        assert stage.happens(lambda: receiver.done == EVENTS[1:2], relay, receiver)
        steps.go_on("written")
        assert stage.happens(lambda: receiver.done == [EVENTS[1], EVENTS[0]], relay, receiver)
        assert receiver.more == [["2"], ["1"]]
