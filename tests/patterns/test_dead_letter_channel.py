"""Dead letter channel: what it promises, on every broker."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns import identity
from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Actor, Stage

CAT, DOG, OWL = (f'{{"video": "{name}.mp4"}}' for name in ("cat", "dog", "owl"))
DOG_FAILS: dict[str, Any] = {"mode": "fail", "only": "dog.mp4"}

#: Messages that no worker can read: no JSON, no video in it, and not UTF-8.
MALFORMED = ["video=owl.mp4", '["owl.mp4"]', '{"video": "cig\udcfce\udcf1a.mp4"}']

#: Where a worker that has written a dead letter, and not acknowledged its message, stands still.
HANG = 'await handle("in between"); await asyncio.Event().wait()'

#: How the snippet writes a dead letter. On RabbitMQ the broker does.
WRITES = {
    "minibroker": "delivery.nack(requeue=bool(video))",
    "kafka": "await copy(producer, DEAD, record, why)",
    "nats": "await bury(jetstream, message, repr(error)[:200])",
    "redis": "await bury(redis, (number, fields), why, tried)",
    "mqtt": "await bury(session, message, error, number)",
    "postgresql": "await db.execute(BURY, [*why, number])",
}

#: Seconds until a broker takes a silent worker for dead: less in a test than in the snippet.
LEASES = {
    "nats": ("ACK_WAIT = 30", "ACK_WAIT = 1"),
    "redis": ("LEASE = 30_000", "LEASE = 1_000"),
}

NOWHERE = "The message is not among the dead letters."
DROPPED = "The broker has dropped the message on its way."
NEXT = "The message kills the next worker, too."
TRIED = "The malformed message is tried three times."
STAYS = "What was sent back stays a dead letter, and is sent back again."
BARE = "The message has lost what it carried."


def dead(stage: Stage, number: int = 0, *, seen: bool = False) -> list[tuple[str, str, int]]:
    """Return the dead letters. RabbitMQ writes them in its own time: there, wait for `number`.

    Where the claim is that there are some, `seen`, that is for as long as the broker needs.
    """
    letters: list[tuple[str, str, int]] = []

    def are_there() -> bool:
        letters[:] = sorted((body, reason, tried) for body, reason, tried in stage.call("dead"))
        return len(letters) >= number or stage.key != "rabbitmq"

    (stage.in_time if seen else stage.happens)(are_there)
    return letters


@claim(
    "A message that fails each time is tried three times, and is then a dead letter with its"
    " reason and the number of attempts; the others are done.",
    promise=True,
    seen=NOWHERE,
    minibroker=holds(", dead_letters=DEAD", ""),
    rabbitmq=holds(
        ", **rabbitmq.dead_letters_to(DEAD)}",
        "}",
        says="The reason is `delivery_limit`; what the worker raised is in its log only.",
    ),
    kafka=holds(WRITES["kafka"], "pass", with_help="the worker counts, and writes to a topic"),
    nats=holds(WRITES["nats"], "pass", with_help="the worker writes to a stream"),
    redis=holds(WRITES["redis"], "pass", with_help="the worker writes to a stream"),
    mqtt=holds(WRITES["mqtt"], "pass", with_help="the worker counts, and writes retained messages"),
    postgresql=holds(WRITES["postgresql"], "pass", with_help="two tables more"),
)
def test_what_fails_becomes_a_dead_letter(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", messages=[CAT, DOG, OWL])
    worker = stage.spawn("work", worker="A", limit=3, **DOG_FAILS)
    assert stage.happens(lambda: worker.returned, worker)
    assert worker.taken.count("dog.mp4") == 3
    assert sorted(worker.done) == ["cat.mp4", "owl.mp4"]
    letters = dead(stage, 1, seen=True)
    assert letters, NOWHERE
    assert [(body, attempts) for body, _, attempts in letters] == [(DOG, 3)]
    [(_, reason, _)] = letters
    assert reason in {"delivery-limit", "delivery_limit"} or "told to fail" in reason


@claim(
    "A message that kills its worker each time becomes a dead letter, too, after three attempts.",
    seen=NEXT,
    minibroker=holds("delivery_limit=LIMIT, ", ""),
    rabbitmq=holds('"x-delivery-limit": LIMIT - 1, ', ""),
    kafka=differs("The worker counted, and its count died with it: the message comes again."),
    nats=holds("if number > LIMIT:", "if False:"),
    redis=holds("if delivery > LIMIT:", "if False:"),
    mqtt=differs("The worker counted, and its count died with it: the message comes again."),
    postgresql=holds("await counter.execute(COUNT", "await db.execute(COUNT"),
)
def test_what_kills_its_worker_becomes_a_dead_letter(stage: Stage) -> None:
    if stage.key in LEASES:
        stage.replace(*LEASES[stage.key])
    if stage.key == "kafka":  # a name of its own lets it come back without a time-out
        stage.replace("client_id=name,", "client_id=name, group_instance_id=group and name,")
    stage.call("declare")
    stage.call("submit", messages=[DOG])
    for _ in range(3):
        killed = stage.spawn("work", worker="A", mode="hold")
        assert stage.happens(partial(holds_one, killed), killed)
        killed.kill()
    following = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: bool(following.taken) or bool(dead(stage)), following)
    if stage.holds:
        assert not following.taken, NEXT
        assert [(body, attempts) for body, _, attempts in dead(stage, 1)] == [(DOG, 3)]
    else:
        assert following.taken


def holds_one(worker: Actor) -> bool:
    return bool(worker.taken)


@claim(
    "Nothing is lost on the way to the dead letter channel, even if the worker dies between writing"
    " and acknowledging.",
    seen=NOWHERE,
    minibroker=holds(
        WRITES["minibroker"], f"delivery.ack(); {HANG}", says="One step in one process."
    ),
    rabbitmq=holds(
        '"x-dead-letter-strategy": "at-least-once"',
        '"x-dead-letter-strategy": "at-most-once"',
        says="The broker moves it. While the dead letter queue is missing, the message waits, even"
        " if the broker is killed.",
        seen=DROPPED,
    ),
    kafka=holds(
        WRITES["kafka"],
        f"await consumer.commit(record); {HANG}",
    ),
    nats=holds(WRITES["nats"], f"await message.ack_sync(); {HANG}"),
    redis=holds(WRITES["redis"], f"await redis.xack(QUEUE, GROUP, number); {HANG}"),
    mqtt=holds(WRITES["mqtt"], f"session.ack(message); {HANG}"),
    postgresql=holds(
        WRITES["postgresql"],
        f'await db.execute(REMOVE, {{"id": number}}); await db.execute("COMMIT"); {HANG}',
        says="Both are one transaction.",
    ),
)
def test_a_crash_loses_no_dead_letter(stage: Stage) -> None:
    malformed = MALFORMED[0]
    if isinstance(stage.server, Rabbitmq):
        transcode = "queues/%2F/transcode"
        ask = stage.server.ask
        stage.call("declare")
        stage.server.write_down_queues()
        ask(f"{transcode}.dead", "DELETE")
        stage.call("submit", messages=[malformed])
        worker = stage.spawn("work", worker="A", limit=1, **DOG_FAILS)
        assert stage.happens(lambda: worker.returned, worker)
        stage.server.kill()
        stage.server.start()
        # The queue holds it still, as one that is on its way.
        assert stage.in_time(lambda: ask(transcode).get("messages_dlx") == 1, worker), DROPPED
        return
    whole = stage.snippet.read_text()
    if HANG not in whole:
        stage.replace(WRITES[stage.key], f"{WRITES[stage.key]}; {HANG}")
    stage.call("declare")
    stage.call("submit", messages=[malformed])
    killed = stage.spawn("work", worker="A", **DOG_FAILS)
    assert stage.happens(lambda: bool(killed.taken), killed)
    killed.kill()
    if stage.key == "postgresql":  # rolled back; the next worker writes it
        stage.snippet.write_text(whole)
        following = stage.spawn("work", worker="A", **DOG_FAILS)
        stage.in_time(lambda: bool(dead(stage)), killed, following)
    assert [body for body, _, _ in dead(stage)] == [malformed], NOWHERE


@claim(
    "A malformed message does not stop the worker: it is a dead letter after one attempt, byte"
    " for byte.",
    seen=TRIED,
    minibroker=holds("requeue=bool(video)", "requeue=True"),
    rabbitmq=holds("requeue=bool(video)", "requeue=True"),
    kafka=holds("if number == LIMIT or not video:", "if number == LIMIT:"),
    nats=holds("if video and number < LIMIT:", "if number < LIMIT:"),
    redis=holds("if video and delivery < LIMIT:", "if delivery < LIMIT:"),
    mqtt=holds("if number == LIMIT or not video:", "if number == LIMIT:"),
    postgresql=holds(
        "if video and tries < LIMIT:",
        "if tries < LIMIT:",
        says="The column lets in nothing that is not UTF-8.",
    ),
)
def test_a_malformed_message_is_a_dead_letter_at_once(stage: Stage) -> None:
    malformed = MALFORMED[:2] if stage.key in {"minibroker", "postgresql"} else MALFORMED
    stage.call("declare")
    stage.call("submit", messages=[*malformed, CAT])
    worker = stage.spawn("work", worker="A", **DOG_FAILS)
    assert stage.happens(lambda: worker.done == ["cat.mp4"], worker)
    letters = dead(stage, len(malformed))
    assert [body for body, _, _ in letters] == sorted(malformed)
    assert {attempts for _, _, attempts in letters} == {1}, TRIED
    assert all("rejected" in reason or "Error" in reason for _, reason, _ in letters)


@claim(
    "A dead letter that is sent back is tried again from the start, and is then done.",
    seen=STAYS,
    minibroker=holds("letter.ack()", "pass"),
    rabbitmq=holds("await letter.ack()", "await letter.nack(requeue=True)"),
    kafka=holds("await consumer.delete_up_to(letter)", "pass"),
    nats=holds("await jetstream.delete_msg(DEAD, number)", "pass"),
    redis=holds("both.xdel(DEAD, number)", "pass"),
    mqtt=holds("await client.publish(letter.topic, retain=True)", "pass"),
    postgresql=holds("DELETE FROM dead_task RETURNING *", "SELECT * FROM dead_task"),
)
def test_a_dead_letter_can_be_sent_back(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", messages=[DOG])
    failing = stage.spawn("work", worker="A", limit=1, **DOG_FAILS)
    assert stage.happens(lambda: failing.returned, failing)
    assert dead(stage, 1)
    # On RabbitMQ, what was looked at comes back in the queue's own time.
    assert stage.happens(lambda: bool(stage.call("dead", redrive=True)), failing)
    repaired = stage.spawn("work", worker="A", limit=1, times=2, **DOG_FAILS)
    assert stage.happens(lambda: repaired.done == ["dog.mp4"], repaired)
    assert repaired.taken == ["dog.mp4"] * 3
    # On RabbitMQ, what was handed back is there a moment later.
    assert stage.stays(lambda: not dead(stage), 0.5), STAYS


@claim(
    "What a message carries stays with it, into the dead letter and back: its id, its correlation"
    " id, its trace, its headers byte for byte; and the letter says where it died.",
    seen=BARE,
    minibroker=holds("BROKER.publish(QUEUE, back, 1e9, **its)", "BROKER.publish(QUEUE, back)"),
    rabbitmq=holds(
        "await rabbitmq.forward(channel, QUEUE, letter, {})",
        "await publish(channel, QUEUE, letter.body)",
    ),
    postgresql=holds(
        "INSERT INTO task SELECT id, body, headers FROM gone)",
        "INSERT INTO task SELECT id, body FROM gone)",
    ),
    kafka=holds('"headers": kept + ours', '"headers": ours'),
    nats=holds("headers=headers | new | more", "headers=new | more"),
    redis=holds("fields | more)", '{"body": fields["body"]} | more)'),
    mqtt=holds("True, message, UserProperty=why", "True, None, UserProperty=why"),
)
def test_a_dead_letter_keeps_what_it_carries(stage: Stage) -> None:
    if stage.key == "minibroker":
        stage.snippet.write_text(stage.snippet.read_text() + identity.WITHIN)
    stage.call("declare")
    carried = identity.send(stage, DOG)
    for _ in ("first", "sent back"):
        fails_until_dead(stage)
        found, origin = identity.dead_letter(stage)
        assert {name: found.get(name) for name in carried} == carried, BARE
        assert "transcode" in origin or "task" in origin
        assert stage.happens(lambda: bool(stage.call("dead", redrive=True)))


def fails_until_dead(stage: Stage) -> None:
    failing = stage.spawn("work", worker="A", limit=1, **DOG_FAILS)
    assert stage.happens(lambda: failing.returned, failing)
    assert dead(stage, 1)
