"""Request-reply: what it promises, on every broker."""

from __future__ import annotations

from itertools import count

from tests.patterns.claims import claim, differs, holds
from tests.patterns.home import WARM_UP
from tests.patterns.stage import Actor, Stage

#: Added to a snippet's copy: many questions on one connection, and what became of each. Asked in
#: turn, they end with the first wrong answer, so that a changed snippet need not wait for the rest.
#: The last question may have a time of its own.
ASK_ALL = """
async def ask_all(questions, seconds, at_once=100, last=None):
    places = asyncio.Semaphore(at_once)

    async def one(ask, question):
        patience = last if last and question == questions[-1] else seconds
        async with places:
            try:
                return await ask(question, patience)
            except TimeoutError:
                return "TimeoutError"

    async with requestor() as ask:
        asked = {asyncio.create_task(one(ask, each)): each for each in questions}
        pending, right = set(asked), True
        while pending and (right or at_once > 1):
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            right = all(it.result() in ("TimeoutError", f"{asked[it]}: done") for it in ended)
        for it in pending:
            it.cancel()
        return [it.result() if it.done() else "not waited for" for it in asked]


"""
MAIN = 'if __name__ == "__main__":'
TIMED_OUT = "TimeoutError"

#: On core NATS the client library matches an answer with its question: each has an address of its
#: own. In its place, one address for all of them.
REQUEST = """reply = await connection.request(
                        QUESTIONS, question.encode(), left, headers=headers
                    )"""
ONE_INBOX = """replies = vars(connection).get("replies")
                    replies = replies or await connection.subscribe("_INBOX.*")
                    connection.replies = replies
                    await connection.publish(
                        QUESTIONS, question.encode(), "_INBOX.1", headers=headers
                    )
                    reply = await replies.next_msg(left)
                    if not reply.data:
                        raise NoRespondersError"""

MISTAKEN = "A question gets the answer to another one."
LATE = "The late answer is taken for the next question's."
UNANSWERED = "Nobody answers the question that the killed replier held."
IN_VAIN = "A replier begins to work on a question for whose answer nobody waits."
STRAYED = "A message that answers nothing is taken for the answer."

#: The text by which a requestor knows what an answer answers, and what takes any for the oldest's.
CORRELATION = {
    "minibroker": (
        'number = message.headers.get("correlation_id", "")',
        'number = next(iter(waiting), "")',
    ),
    "rabbitmq": (
        'waiting.get(message.correlation_id or "")',
        "next(iter(waiting.values()), None)",
    ),
    "kafka": (
        'number = dict(record.headers).get("correlation_id", b"")',
        'number = next(iter(waiting), b"")',
    ),
    "nats": (REQUEST, ONE_INBOX),
    "redis": ('to = f"{REPLIES}{uuid4().hex}"', 'to = f"{REPLIES}of all"'),
    "mqtt": (
        'number = getattr(message.properties, "CorrelationData", b"")',
        'number = next(iter(waiting), b"")',
    ),
    "postgresql": (
        "WHERE id = %s AND answer IS NOT NULL",
        "WHERE %s::uuid IS NOT NULL AND answer IS NOT NULL",
    ),
}
WITH_HELP = {
    "minibroker": "a queue for each requestor's answers, and headers",
    "kafka": "a topic for answers, and headers",
    "redis": "a list for each answer, and fields",
    "postgresql": "a column for the answer, and a look at it again and again",
}

#: An answer in a row of which no requestor knows the id: on PostgreSQL the table itself refuses a
#: question that is not complete.
STRAY = "\"INSERT INTO question VALUES (gen_random_uuid(), '', now() + '1 min', 'stray')\""

#: Each question is preceded by one that names no return address (on Kafka also by one with a
#: partition that is not there, and one with none), and each answer by two strays:
#: one with no correlation identifier, or no text, and one with an identifier that nobody knows.
RUDE = {
    "minibroker": (
        "BROKER.publish(\n                QUESTIONS,",
        'BROKER.publish(QUESTIONS, "rude")\n            '
        "BROKER.publish(\n                QUESTIONS,",
        "BROKER.publish(to, reply,",
        'BROKER.publish(to, "stray"); BROKER.publish(to, "stray", correlation_id="0"); '
        "BROKER.publish(to, reply,",
    ),
    "rabbitmq": (
        "await channel.default_exchange.publish(message, QUESTIONS)",
        "await channel.default_exchange.publish(Message(b'\\xff'), QUESTIONS); "
        "await channel.default_exchange.publish(message, QUESTIONS)",
        "await exchange.publish(reply,",
        "await exchange.publish(Message(b'stray'), to, mandatory=False); "
        "await exchange.publish(\n                "
        "Message(b'stray', correlation_id='0'), to, mandatory=False); "
        "await exchange.publish(reply,",
    ),
    "kafka": (
        "await send(producer, QUESTIONS,",
        'await send(producer, QUESTIONS, b"\\xff")\n                '
        'for lost in (b"99", None):\n                    '
        'other = [("reply_to", lost), *headers[1:]]\n                    '
        'await send(producer, QUESTIONS, b"lost", headers=other)\n                '
        "await send(producer, QUESTIONS,",
        "body = await handle(text(record))\n",
        "body = await handle(text(record))\n                    "
        'await send(producer, REPLIES, b"stray", partition=int(to))\n                    '
        'stray = [("correlation_id", b"0")]\n                    '
        'await send(producer, REPLIES, b"stray", partition=int(to), headers=stray)\n',
    ),
    "nats": (
        "while (left :=",
        'await connection.publish(QUESTIONS, b"\\xff")\n            while (left :=',
        "await connection.publish(message.reply,",
        'await connection.publish(message.reply + "0", b"stray")\n            '
        "await connection.publish(message.reply,",
    ),
    "redis": (
        "await redis.xadd(QUESTIONS, fields",
        'await redis.xadd(QUESTIONS, {"question": b"\\xff"}); await redis.xadd(QUESTIONS, fields',
        "reply = await handle(question)",
        'await redis.rpush(f"{REPLIES}of all", "stray"); reply = await handle(question)',
    ),
    "mqtt": (
        "while not await client.publish(",
        'await client.publish(QUESTIONS, b"\\xff")\n'
        "                while not await client.publish(",
        "await session.publish(to, reply,",
        'await session.publish(to, "stray"); '
        'await session.publish(to, "stray", CorrelationData=b"0"); '
        "await session.publish(to, reply,",
    ),
    "postgresql": (
        "await db.execute(ASK, [number,",
        f"await db.execute({STRAY}); await db.execute(ASK, [number,",
        "await db.execute(REPLY,",
        f"await db.execute({STRAY}); await db.execute(REPLY,",
    ),
}
CORRELATED = {key: holds(*change) for key, change in CORRELATION.items()}

#: How a replier on PostgreSQL writes its answer, and where it takes the question out before.
ROW = """reply = await handle(question)
                    await db.execute(REPLY, [reply, number])"""
ROW_TAKEN = """await db.execute("DELETE FROM question WHERE id = %s", [number])
                    await db.execute("COMMIT")
                    reply = await handle(question)
                    await db.execute(
                        "INSERT INTO question VALUES (%s, '', now() + '1 min', %s)",
                        [number, reply],
                    )"""


def names(name: str, many: int) -> list[str]:
    return [f"{name}-{number}.mp4" for number in range(many)]


def done(questions: list[str]) -> list[str]:
    """Return the harness' answers."""
    return [f"{question}: done" for question in questions]


def mistaken(requestor: Actor, questions: list[str]) -> list[str]:
    """Return the answers that belong to no question, or to another one than it was given for."""
    return [
        answer
        for answer, own in zip(requestor.value, done(questions), strict=True)
        if answer not in (own, TIMED_OUT, "not waited for")
    ]


def ask_all(
    stage: Stage,
    questions: list[str],
    seconds: float,
    at_once: int = 100,
    last: float | None = None,
) -> Actor:
    """Ask each for so many seconds; the last one for as many as `last`, if it is given."""
    return stage.spawn("ask_all", questions=questions, seconds=seconds, at_once=at_once, last=last)


def set_up(stage: Stage) -> None:
    stage.replace(MAIN, ASK_ALL + MAIN)
    stage.call("declare")


@claim(
    "Each requestor gets the answers to its own questions, many in flight and out of order.",
    promise=True,
    seen=MISTAKEN,
    **{
        key: holds(*change, with_help=WITH_HELP.get(key, "")) for key, change in CORRELATION.items()
    },
)
def test_each_requestor_gets_its_own_answers(stage: Stage) -> None:
    set_up(stage)
    ants, bees = names("ant", 20), names("bee", 20)
    repliers = [stage.spawn("answer", replier=r, mode="hold", only=ants[0]) for r in "AB"]
    rounds = count(1)

    def both_answer() -> bool:
        questions = names(f"{WARM_UP} {next(rounds)}", 4)
        stage.call("ask_all", questions=questions, seconds=3)
        return all(replier.warmed_up for replier in repliers)

    assert stage.happens(both_answer, *repliers)
    first = ask_all(stage, ants, 20)
    # One replier holds the first question, and the other overtakes it.
    assert stage.happens(lambda: any(ants[0] in r.taken for r in repliers), *repliers)
    assert stage.happens(lambda: any(set(ants) & set(r.done) for r in repliers), *repliers)
    second = ask_all(stage, bees, 20)
    assert stage.happens(lambda: any(set(bees) & set(r.done) for r in repliers), *repliers)
    for replier in repliers:
        replier.release()
    assert stage.happens(lambda: first.returned and second.returned, first, second, *repliers)
    assert not mistaken(first, ants) + mistaken(second, bees), MISTAKEN
    assert first.value == done(ants)
    assert second.value == done(bees)


@claim(
    "A timeout ends the wait, and the late answer is not taken for the next question's.",
    seen=LATE,
    **CORRELATED,
)
def test_a_late_answer_is_discarded(stage: Stage) -> None:
    if stage.key == "postgresql":  # else the late answer may be swept out before the next question
        stage.replace("await db.execute(SWEEP)", "pass")
    set_up(stage)
    replier = stage.spawn("answer", replier="A", mode="hold")
    # Asked in turn: the first one times out, and so do some more, until the replier goes on.
    questions = names("cat", 20)
    requestor = ask_all(stage, questions, 1, at_once=1, last=30)
    assert stage.happens(lambda: bool(replier.taken), replier, requestor)
    assert stage.stays(lambda: not requestor.returned, 1.5, no_longer=True)
    replier.release()
    assert stage.happens(lambda: requestor.returned, requestor, replier)
    held = questions.index(replier.taken[0])
    assert requestor.value[held] == TIMED_OUT
    assert not mistaken(requestor, questions), LATE
    assert requestor.value[-1] == f"{questions[-1]}: done"
    assert "not waited for" not in requestor.value


@claim(
    "A question whose replier is killed is answered by another.",
    seen=UNANSWERED,
    minibroker=holds(
        "reply = await handle(question)",
        "delivery.ack(); reply = await handle(question);"
        " BROKER.publish(to, reply, correlation_id=number); continue",
    ),
    rabbitmq=holds(
        "body = raw(await handle(text(message)))",
        "await message.ack(); body = raw(await handle(text(message)));"
        " reply = Message(body, correlation_id=number);"
        " await exchange.publish(reply, to, mandatory=False); continue",
    ),
    kafka=holds(
        "body = await handle(text(record))",
        "await consumer.commit(record); body = await handle(text(record))",
    ),
    nats=differs("Nobody answers; the requestor's timeout ends the wait."),
    redis=holds(
        "reply = await handle(question)",
        "await redis.xack(QUESTIONS, GROUP, place); reply = await handle(question)",
    ),
    mqtt=differs("Nobody answers; the requestor's timeout ends the wait."),
    postgresql=holds(ROW, ROW_TAKEN),
)
def test_a_killed_repliers_question_goes_to_another(stage: Stage) -> None:
    set_up(stage)
    seconds = 60 if stage.holds else 4
    killed = stage.spawn("answer", replier="A", mode="hold")
    if not stage.holds:  # it is there before the question's short time runs
        stage.call("ask_all", questions=[WARM_UP], seconds=30)
    requestor = ask_all(stage, ["cat.mp4"], seconds)
    assert stage.happens(lambda: bool(killed.taken), killed, requestor)
    # Whatever the snippet sends before the work is on its way by then.
    assert stage.stays(lambda: not killed.done, 1.5 if stage.without else 0.3, no_longer=True)
    killed.kill()
    other = stage.spawn("answer", replier="B")
    assert stage.call("ask_all", questions=["dog.mp4"], seconds=40) == ["dog.mp4: done"]
    if stage.holds:
        assert stage.in_time(lambda: requestor.value == ["cat.mp4: done"], requestor, other), (
            UNANSWERED
        )
        return
    assert stage.happens(lambda: requestor.returned, requestor, other)
    assert requestor.value == [TIMED_OUT]
    assert other.taken == ["dog.mp4"]


@claim(
    "No replier begins to work on a question after its requestor has given up.",
    seen=IN_VAIN,
    minibroker=holds("ttl=seconds,  # afterwards", "ttl=60,  # afterwards"),
    rabbitmq=holds("expiration=seconds,", "expiration=60,"),
    kafka=holds('number_in(record, "deadline", 0)', "9e9"),
    nats=holds("if deadline < time.time():", "if not deadline:"),
    redis=holds('< float(fields["seconds"])', "< 60"),
    mqtt=holds('extra["MessageExpiryInterval"] = ceil(seconds)', "ceil(seconds)"),
    postgresql=holds(" AND deadline > clock_timestamp()", ""),
)
def test_a_question_is_not_worked_on_in_vain(stage: Stage) -> None:
    set_up(stage)
    replier = stage.spawn("answer", replier="A", mode="hold")
    busy = ask_all(stage, ["cat.mp4"], 30)
    assert stage.happens(lambda: bool(replier.taken), replier, busy)
    # Time enough that a busy machine sends it: what was not sent can't be worked on.
    assert stage.call("ask_all", questions=["dog.mp4"], seconds=3) == [TIMED_OUT]
    # A server counts from when the question reached it; Mosquitto may be a whole second behind.
    assert stage.stays(lambda: not replier.done, 2.5, no_longer=True)
    replier.release()
    # Mosquitto leaves a question in the queue that was there behind one that expired.
    assert stage.happens(lambda: busy.returned, busy)
    last = stage.call("ask_all", questions=["owl.mp4"], seconds=30)
    assert last == ["owl.mp4: done"]
    assert stage.happens(lambda: "owl.mp4" in replier.taken, replier)
    # On Kafka the dog may come from another partition, behind the owl.
    assert stage.stays(lambda: "dog.mp4" not in replier.taken, 0.5), IN_VAIN
    assert replier.taken == ["cat.mp4", "owl.mp4"]


@claim(
    "A malformed question or answer stops nobody, and is not taken for an answer.",
    seen=STRAYED,
    **CORRELATED,
)
def test_what_is_malformed_stops_nobody(stage: Stage) -> None:
    question, rude_question, answer, rude_answer = RUDE[stage.key]
    stage.replace(question, rude_question)
    stage.replace(answer, rude_answer)
    set_up(stage)
    replier = stage.spawn("answer", replier="A")
    cats = names("cat", 5)
    requestor = ask_all(stage, cats, 30, at_once=1)
    assert stage.happens(lambda: requestor.returned, requestor, replier)
    assert "stray" not in requestor.value, STRAYED
    assert requestor.value == done(cats)
    assert stage.happens(lambda: replier.done == cats, replier)
    if stage.key not in {"minibroker", "postgresql"}:  # there: a dead letter, and impossible
        assert "not a question" in replier.process.errors()
