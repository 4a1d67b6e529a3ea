"""Delayed retry: what it promises, on every broker."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.patterns import identity
from tests.patterns.claims import claim, differs, holds
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS

CAT, DOG, FOX = (f'{{"video": "{name}.mp4"}}' for name in ("cat", "dog", "fox"))
DOG_FAILS: dict[str, Any] = {"mode": "fail", "only": "dog.mp4"}
FILES = sorted((SNIPPETS / "patterns" / "delayed_retry").glob("on_*.py"))

#: Messages that no worker can read: no JSON, no video in it, and not UTF-8.
MALFORMED = ["video=owl.mp4", '["owl.mp4"]', '{"video": "cig\udcfce\udcf1a.mp4"}']

#: The delays of the snippets.
DELAYS = "DELAYS = (0.2, 0.3), (0.4, 0.6)"

#: Seconds: a server that counts in milliseconds may round down.
ROUNDING = 0.005

#: Where the broker has a delay for each message: instead of it, the worker sleeps, and tries again.
SLEEPS = "await asyncio.sleep(delay(number, RANDOM)); await handle(video)"


#: How a message is submitted, and how with a number of the attempt that is no number.
NO_NUMBER = {
    "minibroker": (
        "publish(QUEUE, body, {})",
        'publish(QUEUE, body, {"attempt": "two"} if "fox" in body else {})',
    ),
    "rabbitmq": ('headers={"attempt": 1}', 'headers={"attempt": "two" if b"fox" in raw else 1}'),
    "kafka": (
        "await send(producer, TOPIC, body)",
        'await send(producer, TOPIC, body, headers=[("attempt", b"two")] if "fox" in body else [])',
    ),
    "redis": (
        '{"body": body}',
        '{"body": body} | ({"attempt": "two"} if "fox" in body else {})',
    ),
}

#: How the snippets that publish for the next attempt, or the dead letter, do it.
TO_WAIT = {
    "minibroker": "publish(WAITS[pause], body, again, pause)",
    "rabbitmq": "to, number = WAITS[pause], number + 1",
    "kafka": "await copy(producer, to, record, notes)",
    "nats": "await message.nak(delay=delay(number, RANDOM))",
    "redis": "settle.zadd(WAITING, {task: due})",
    "postgresql": "await db.execute(PARK, [pause, task])",
}
ELSEWHERE = "next(iter(WAITS.values()))"
IN_MEMORY = "asyncio.get_running_loop().call_later(60, asyncio.ensure_future, {0})"

BEHIND = "Other tasks wait behind the one that waits."
EARLY = "The task comes again before its time."
LOST = "The task that waited is gone."
NOWHERE = "The task is not among the dead letters."
AGAIN = "The malformed message waits, and is tried again."
BARE = "The task has lost what it carried."


@claim(
    "While a task waits for its next attempt it holds up nobody: new tasks are done, and one with a"
    " shorter delay comes back first.",
    promise=True,
    seen=BEHIND,
    minibroker=holds(
        'f"wait.{pause}"',
        '"wait"',
        with_help="a queue for each delay, to which the worker publishes",
    ),
    rabbitmq=holds(
        'f"{QUEUE}.wait.{pause}"',
        'f"{QUEUE}.wait"',
        with_help="a queue for each delay, to which the worker publishes",
    ),
    kafka=holds(
        "TopicPartition(WAIT, PAUSES.index(pause))",
        "TopicPartition(WAIT, 0)",
        with_help="a partition for each delay, paused until its first record is due",
    ),
    nats=holds(TO_WAIT["nats"], SLEEPS),
    redis=holds(TO_WAIT["redis"], SLEEPS, with_help="a sorted set, and a script"),
    mqtt=differs("The worker sleeps with the task in its hands, and new tasks wait as well."),
    postgresql=holds(
        TO_WAIT["postgresql"], SLEEPS, with_help="a column that says when a task is due"
    ),
)
def test_a_task_that_waits_holds_up_nobody(stage: Stage) -> None:
    long = 30 if stage.holds and not stage.without else 3
    stage.replace(DELAYS, f"DELAYS = (0.5, 0.5), ({long}, {long})")
    stage.call("declare")
    stage.call("submit", messages=[DOG])
    worker = stage.spawn("work", worker="A", mode="fail", times=2)
    assert stage.happens(lambda: len(worker.taken) == 2 or worker.ended, worker)
    # Now dog.mp4 waits for its third attempt.
    stage.call("submit", messages=[CAT])
    assert stage.happens(lambda: len(worker.taken) >= 4 or worker.ended, worker)
    if stage.holds:
        assert worker.taken[:4] == ["dog.mp4"] * 2 + ["cat.mp4"] * 2, BEHIND
    else:
        assert worker.taken[:4] == ["dog.mp4"] * 3 + ["cat.mp4"]


@claim(
    "A task that fails comes again, and never before its time.",
    seen=EARLY,
    minibroker=holds(TO_WAIT["minibroker"], TO_WAIT["minibroker"].replace("pause)", "0.001)")),
    rabbitmq=holds("message, note, pause)", "message, note, 0.001)"),
    kafka=holds("if 0 < left <= max(PAUSES):", "if False:"),
    nats=holds("message.nak(delay=delay(number, RANDOM))", "message.nak()"),
    redis=holds("due = await now(redis) + delay(number, RANDOM)", "due = 0"),
    mqtt=holds("await asyncio.sleep(delay(number, RANDOM))", "pass"),
    postgresql=holds("WHERE due <= now()", ""),
)
def test_the_delays_are_kept_and_grow(stage: Stage) -> None:
    lows = (0.2, 0.4)
    if stage.without:  # what it does at once must not be as slow on a busy machine
        lows = (5, 9)
        stage.replace(DELAYS, "DELAYS = (5, 5), (9, 9)")
    stage.call("declare")
    stage.call("submit", messages=[DOG])
    worker = stage.spawn("work", worker="A", limit=1, **DOG_FAILS)
    assert stage.happens(lambda: worker.returned, worker)
    assert worker.taken == ["dog.mp4"] * 3
    for low, (before, after) in zip(lows, pairwise(worker.times), strict=True):
        assert after - before >= low - ROUNDING, EARLY


@claim(
    "A worker that is killed while a task waits loses nothing.",
    seen=LOST,
    minibroker=holds(TO_WAIT["minibroker"], "pass"),
    rabbitmq=holds(
        TO_WAIT["rabbitmq"],
        IN_MEMORY.format("publish(channel, QUEUE, message.body)")
        + "; await message.ack(); continue",
    ),
    kafka=holds(
        TO_WAIT["kafka"],
        IN_MEMORY.format("copy(producer, TOPIC, record, notes)"),
    ),
    nats=holds(
        TO_WAIT["nats"],
        IN_MEMORY.format("jetstream.publish(QUEUE, message.data)") + "; await message.ack_sync()",
    ),
    redis=holds(
        TO_WAIT["redis"],
        IN_MEMORY.format("redis.xadd(QUEUE, again)"),
    ),
    mqtt=holds(
        "body = message.payload\n",
        "body = message.payload; session.ack(message)\n",
        says="It comes again at once, and counts from 1 again.",
    ),
    postgresql=holds(
        TO_WAIT["postgresql"], 'await db.execute("DELETE FROM task WHERE id = %s", [task])'
    ),
)
def test_a_crash_loses_no_task_that_waits(stage: Stage) -> None:
    # Should dog.mp4 fail again before the kill, it still comes again in time: it is no dead letter.
    stage.replace(DELAYS, "DELAYS = (1, 1), (30, 30)")
    if stage.without:  # it must fail: no lease has to run out here before it can
        stage.to_see = 4
    if stage.key == "kafka":  # a name of its own lets it come back without a time-out
        stage.replace("client_id=name,", "client_id=name, group_instance_id=group and name,")
    stage.call("declare")
    stage.call("submit", messages=[DOG, CAT])
    killed = stage.spawn("work", worker="A", **DOG_FAILS)
    # On MQTT dog.mp4 is in its hands; elsewhere it was put aside before cat.mp4 came.
    assert stage.happens(
        lambda: killed.taken.count("dog.mp4") == 2 or "cat.mp4" in killed.taken, killed
    )
    killed.kill()
    following = stage.spawn("work", worker="A")
    stage.call("submit", messages=[FOX])
    assert stage.happens(lambda: "fox.mp4" in following.done, killed, following)
    assert stage.in_time(lambda: "dog.mp4" in following.done, killed, following), LOST


@claim(
    "After the last attempt it goes to the dead letter channel, with the number of attempts.",
    seen=NOWHERE,
    minibroker=holds('publish(DEAD, body, {**headers, "attempt": str(number)})', "pass"),
    rabbitmq=holds("to, pause = DEAD,", f"to, pause = {ELSEWHERE},"),
    kafka=holds("to, notes = DEAD,", "to, notes = TopicPartition(WAIT, 0),"),
    nats=holds("await forward(jetstream, DEAD, message, Attempt=attempt)", "pass"),
    redis=holds("await add(redis, [(DEAD, fields | why)])", "pass"),
    mqtt=holds("body, True, message)", "body, False, message)"),
    postgresql=holds("await db.execute(BURY, [task])", "pass"),
)
def test_after_the_last_attempt_it_is_a_dead_letter(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", messages=[DOG, CAT])
    worker = stage.spawn("work", worker="A", limit=2, **DOG_FAILS)
    assert stage.happens(lambda: worker.returned, worker)
    assert worker.done == ["cat.mp4"]
    assert worker.taken.count("dog.mp4") == 3
    assert stage.call("dead") == [[DOG, 3]], NOWHERE


@claim(
    "A malformed message is a dead letter at once, and does not stop the worker.",
    seen=AGAIN,
    minibroker=holds("if video and 0 < number < LIMIT:", "if 0 < number < LIMIT:"),
    rabbitmq=holds("if video and 0 < number < LIMIT:", "if 0 < number < LIMIT:"),
    kafka=holds("if video and 0 < number < LIMIT:", "if 0 < number < LIMIT:"),
    nats=holds("if video and number < LIMIT:", "if number < LIMIT:"),
    redis=holds("if video and 0 < number < LIMIT:", "if 0 < number < LIMIT:"),
    mqtt=holds("if number == LIMIT or not video:", "if number == LIMIT:"),
    postgresql=holds("if video and number < LIMIT:", "if number < LIMIT:"),
)
def test_a_malformed_message_is_a_dead_letter_at_once(stage: Stage) -> None:
    malformed = MALFORMED[:2] if stage.key in {"minibroker", "postgresql"} else MALFORMED
    if stage.key in NO_NUMBER:
        stage.replace(*NO_NUMBER[stage.key])
        malformed = [*malformed, FOX]
    stage.call("declare")
    stage.call("submit", messages=[*malformed, CAT])
    worker = stage.spawn("work", worker="A", limit=len(malformed) + 1)
    assert stage.happens(lambda: worker.returned, worker)
    letters = sorted(stage.call("dead"))
    assert {attempts for _, attempts in letters} == {1}, AGAIN
    assert [body for body, _ in letters] == sorted(malformed)
    assert worker.done == ["cat.mp4"]


@claim(
    "What a message carries stays with it through each attempt: its id, its correlation id, its"
    " trace, its headers byte for byte.",
    seen=BARE,
    minibroker=holds("again = {**headers,", "again = {"),
    rabbitmq=holds(
        "await rabbitmq.forward(channel, to, message, note, pause)",
        "await publish(channel, to, message.body, headers=note, expiration=pause or None)",
    ),
    kafka=holds('"headers": kept + ours', '"headers": ours'),
    mqtt=holds("body, True, message)", "body, True)"),
    nats=holds("headers=headers | new | more", "headers=new | more"),
    redis=holds("again = fields | {", 'again = {"body": fields["body"]} | {'),
    postgresql=differs("It stays in its row: nothing is copied before it is dead."),
)
def test_each_attempt_carries_what_the_first_did(stage: Stage) -> None:
    if stage.key == "minibroker":
        stage.snippet.write_text(stage.snippet.read_text() + identity.WITHIN)
    stage.call("declare")
    carried = identity.send(stage, DOG)
    worker = stage.spawn("work", worker="A", limit=1, **DOG_FAILS)
    assert stage.happens(lambda: worker.returned, worker)
    assert worker.taken.count("dog.mp4") == 3
    assert stage.happens(lambda: bool(stage.call("dead")), worker)
    found, _ = identity.dead_letter(stage)
    assert {name: found.get(name) for name in carried} == carried, BARE


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_tasks_that_failed_together_do_not_come_back_together(file: Path) -> None:
    """Jitter: with one seed the delays are the same, and within one run they differ."""
    snippet = load(file)
    for attempt, (low, high) in enumerate(snippet.DELAYS, 1):
        random, same = Random(1), Random(1)
        delays = [snippet.delay(attempt, random) for _ in range(100)]
        assert delays == [snippet.delay(attempt, same) for _ in range(100)]
        assert all(low <= one <= high for one in delays)
        assert max(map(delays.count, delays)) < 75
    assert all(high < low for (_, high), (low, _) in pairwise(snippet.DELAYS))
