"""Request-reply: what it promises, on every broker."""

from __future__ import annotations

from itertools import count

from tests.patterns.claims import claim, differs, holds
from tests.patterns.home import WARM_UP
from tests.patterns.stage import Actor, Stage

#: Added to a snippet's copy: many requests on one connection, and what became of each. Sent in
#: turn, they end with the first wrong reply, so that a changed snippet need not wait for the rest.
#: The last request may have a time of its own.
REQUEST_ALL = """
async def request_all(bodies, seconds, at_once=100, last=None):
    places = asyncio.Semaphore(at_once)

    async def one(request, body):
        patience = last if last and body == bodies[-1] else seconds
        async with places:
            try:
                return await request(body, patience)
            except TimeoutError:
                return "TimeoutError"

    async with requestor() as request:
        sent = {asyncio.create_task(one(request, each)): each for each in bodies}
        pending, right = set(sent), True
        while pending and (right or at_once > 1):
            ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            right = all(it.result() in ("TimeoutError", f"{sent[it]}: done") for it in ended)
        for it in pending:
            it.cancel()
        return [it.result() if it.done() else "not waited for" for it in sent]


"""
MAIN = 'if __name__ == "__main__":'
TIMED_OUT = "TimeoutError"

#: On core NATS the client library matches a reply with its request: each has an address of its
#: own. In its place, one address for all of them.
REQUEST = """reply = await connection.request(
                        REQUESTS, body.encode(), left, headers=headers
                    )"""
ONE_INBOX = """replies = vars(connection).get("replies")
                    replies = replies or await connection.subscribe("_INBOX.*")
                    connection.replies = replies
                    await connection.publish(
                        REQUESTS, body.encode(), "_INBOX.1", headers=headers
                    )
                    reply = await replies.next_msg(left)
                    if not reply.data:
                        raise NoRespondersError"""

MISTAKEN = "A request gets the reply to another one."
LATE = "The late reply is taken for the next request's."
NO_REPLY = "Nobody replies to the request that the killed replier held."
IN_VAIN = "A replier begins to work on a request for whose reply nobody waits."
STRAYED = "A message that replies to nothing is taken for the reply."

#: The text by which a requestor knows to what a reply belongs, and what takes any for the oldest's.
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
        "WHERE id = %s AND reply IS NOT NULL",
        "WHERE %s::uuid IS NOT NULL AND reply IS NOT NULL",
    ),
}
WITH_HELP = {
    "minibroker": "a queue for each requestor's replies, and headers",
    "kafka": "a topic for replies, and headers",
    "redis": "a list for each reply, and fields",
    "postgresql": "a column for the reply, and a look at it again and again",
}

#: A reply in a row of which no requestor knows the id: on PostgreSQL the table itself refuses a
#: request that is not complete.
STRAY = "\"INSERT INTO request VALUES (gen_random_uuid(), '', now() + '1 min', 'stray')\""

#: Each request is preceded by one that names no return address (on Kafka also by one with a
#: partition that is not there, and one with none), and each reply by two strays:
#: one with no correlation identifier, or no text, and one with an identifier that nobody knows.
RUDE = {
    "minibroker": (
        "BROKER.publish(\n                REQUESTS,",
        'BROKER.publish(REQUESTS, "rude")\n            BROKER.publish(\n                REQUESTS,',
        "BROKER.publish(to, reply,",
        'BROKER.publish(to, "stray"); BROKER.publish(to, "stray", correlation_id="0"); '
        "BROKER.publish(to, reply,",
    ),
    "rabbitmq": (
        "await channel.default_exchange.publish(message, REQUESTS)",
        "await channel.default_exchange.publish(Message(b'\\xff'), REQUESTS); "
        "await channel.default_exchange.publish(message, REQUESTS)",
        "await exchange.publish(reply,",
        "await exchange.publish(Message(b'stray'), to, mandatory=False); "
        "await exchange.publish(\n                "
        "Message(b'stray', correlation_id='0'), to, mandatory=False); "
        "await exchange.publish(reply,",
    ),
    "kafka": (
        "await send(producer, REQUESTS,",
        'await send(producer, REQUESTS, b"\\xff")\n                '
        'for lost in (b"99", None):\n                    '
        'other = [("reply_to", lost), *headers[1:]]\n                    '
        'await send(producer, REQUESTS, b"lost", headers=other)\n                '
        "await send(producer, REQUESTS,",
        "body = await handle(text(record))\n",
        "body = await handle(text(record))\n                    "
        'await send(producer, REPLIES, b"stray", partition=int(to))\n                    '
        'stray = [("correlation_id", b"0")]\n                    '
        'await send(producer, REPLIES, b"stray", partition=int(to), headers=stray)\n',
    ),
    "nats": (
        "while (left :=",
        'await connection.publish(REQUESTS, b"\\xff")\n            while (left :=',
        "await connection.publish(message.reply,",
        'await connection.publish(message.reply + "0", b"stray")\n            '
        "await connection.publish(message.reply,",
    ),
    "redis": (
        "await redis.xadd(REQUESTS, fields",
        'await redis.xadd(REQUESTS, {"body": b"\\xff"}); await redis.xadd(REQUESTS, fields',
        "reply = await handle(body)",
        'await redis.rpush(f"{REPLIES}of all", "stray"); reply = await handle(body)',
    ),
    "mqtt": (
        "while not await client.publish(",
        'await client.publish(REQUESTS, b"\\xff")\n                while not await client.publish(',
        "await session.publish(to, reply,",
        'await session.publish(to, "stray"); '
        'await session.publish(to, "stray", CorrelationData=b"0"); '
        "await session.publish(to, reply,",
    ),
    "postgresql": (
        "await db.execute(SEND, [number,",
        f"await db.execute({STRAY}); await db.execute(SEND, [number,",
        "await db.execute(REPLY,",
        f"await db.execute({STRAY}); await db.execute(REPLY,",
    ),
}
CORRELATED = {key: holds(*change) for key, change in CORRELATION.items()}

#: How a replier on PostgreSQL writes its reply, and where it takes the request out before.
ROW = """reply = await handle(body)
                    await db.execute(REPLY, [reply, number])"""
ROW_TAKEN = """await db.execute("DELETE FROM request WHERE id = %s", [number])
                    await db.execute("COMMIT")
                    reply = await handle(body)
                    await db.execute(
                        "INSERT INTO request VALUES (%s, '', now() + '1 min', %s)",
                        [number, reply],
                    )"""


def names(name: str, many: int) -> list[str]:
    return [f"{name}-{number}.mp4" for number in range(many)]


def done(bodies: list[str]) -> list[str]:
    """Return the harness' replies."""
    return [f"{body}: done" for body in bodies]


def mistaken(requestor: Actor, bodies: list[str]) -> list[str]:
    """Return the replies that belong to no request, or to another one than it was given for."""
    return [
        reply
        for reply, own in zip(requestor.value, done(bodies), strict=True)
        if reply not in (own, TIMED_OUT, "not waited for")
    ]


def request_all(
    stage: Stage,
    bodies: list[str],
    seconds: float,
    at_once: int = 100,
    last: float | None = None,
) -> Actor:
    """Ask each for so many seconds; the last one for as many as `last`, if it is given."""
    return stage.spawn("request_all", bodies=bodies, seconds=seconds, at_once=at_once, last=last)


def set_up(stage: Stage) -> None:
    stage.replace(MAIN, REQUEST_ALL + MAIN)
    stage.call("declare")


@claim(
    "Each requestor gets the replies to its own requests, many in flight and out of order.",
    promise=True,
    seen=MISTAKEN,
    **{
        key: holds(*change, with_help=WITH_HELP.get(key, "")) for key, change in CORRELATION.items()
    },
)
def test_each_requestor_gets_its_own_replies(stage: Stage) -> None:
    set_up(stage)
    ants, bees = names("ant", 20), names("bee", 20)
    repliers = [stage.spawn("serve", replier=r, mode="hold", only=ants[0]) for r in "AB"]
    rounds = count(1)

    def both_reply() -> bool:
        bodies = names(f"{WARM_UP} {next(rounds)}", 4)
        stage.call("request_all", bodies=bodies, seconds=3)
        return all(replier.warmed_up for replier in repliers)

    assert stage.happens(both_reply, *repliers)
    first = request_all(stage, ants, 20)
    # One replier holds the first request, and the other overtakes it.
    assert stage.happens(lambda: any(ants[0] in r.taken for r in repliers), *repliers)
    assert stage.happens(lambda: any(set(ants) & set(r.done) for r in repliers), *repliers)
    second = request_all(stage, bees, 20)
    assert stage.happens(lambda: any(set(bees) & set(r.done) for r in repliers), *repliers)
    for replier in repliers:
        replier.release()
    assert stage.happens(lambda: first.returned and second.returned, first, second, *repliers)
    assert not mistaken(first, ants) + mistaken(second, bees), MISTAKEN
    assert first.value == done(ants)
    assert second.value == done(bees)


@claim(
    "A timeout ends the wait, and the late reply is not taken for the next request's.",
    seen=LATE,
    **CORRELATED,
)
def test_a_late_reply_is_discarded(stage: Stage) -> None:
    if stage.key == "postgresql":  # else the late reply may be swept out before the next request
        stage.replace("await db.execute(SWEEP)", "pass")
    set_up(stage)
    replier = stage.spawn("serve", replier="A", mode="hold")
    # Sent in turn: the first one times out, and so do some more, until the replier goes on.
    bodies = names("cat", 20)
    requestor = request_all(stage, bodies, 1, at_once=1, last=30)
    assert stage.happens(lambda: bool(replier.taken), replier, requestor)
    assert stage.stays(lambda: not requestor.returned, 1.5, no_longer=True)
    replier.release()
    assert stage.happens(lambda: requestor.returned, requestor, replier)
    held = bodies.index(replier.taken[0])
    assert requestor.value[held] == TIMED_OUT
    assert not mistaken(requestor, bodies), LATE
    assert requestor.value[-1] == f"{bodies[-1]}: done"
    assert "not waited for" not in requestor.value


@claim(
    "A request whose replier is killed gets its reply from another.",
    seen=NO_REPLY,
    minibroker=holds(
        "reply = await handle(body)",
        "delivery.ack(); reply = await handle(body);"
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
    nats=differs("Nobody replies; the requestor's timeout ends the wait."),
    redis=holds(
        "reply = await handle(body)",
        "await redis.xack(REQUESTS, GROUP, place); reply = await handle(body)",
    ),
    mqtt=differs("Nobody replies; the requestor's timeout ends the wait."),
    postgresql=holds(ROW, ROW_TAKEN),
)
def test_a_killed_repliers_request_goes_to_another(stage: Stage) -> None:
    set_up(stage)
    seconds = 60 if stage.holds else 4
    killed = stage.spawn("serve", replier="A", mode="hold")
    if not stage.holds:  # it is there before the request's short time runs
        stage.call("request_all", bodies=[WARM_UP], seconds=30)
    requestor = request_all(stage, ["cat.mp4"], seconds)
    assert stage.happens(lambda: bool(killed.taken), killed, requestor)
    # Whatever the snippet sends before the work is on its way by then.
    assert stage.stays(lambda: not killed.done, 1.5 if stage.without else 0.3, no_longer=True)
    killed.kill()
    other = stage.spawn("serve", replier="B")
    assert stage.call("request_all", bodies=["dog.mp4"], seconds=40) == ["dog.mp4: done"]
    if stage.holds:
        assert stage.in_time(lambda: requestor.value == ["cat.mp4: done"], requestor, other), (
            NO_REPLY
        )
        return
    assert stage.happens(lambda: requestor.returned, requestor, other)
    assert requestor.value == [TIMED_OUT]
    assert other.taken == ["dog.mp4"]


@claim(
    "No replier begins to work on a request after its requestor has given up.",
    seen=IN_VAIN,
    minibroker=holds("ttl=seconds,  # afterwards", "ttl=60,  # afterwards"),
    rabbitmq=holds("expiration=seconds,", "expiration=60,"),
    kafka=holds('number_in(record, "deadline", 0)', "9e9"),
    nats=holds("if deadline < time.time():", "if not deadline:"),
    redis=holds('< float(fields["seconds"])', "< 60"),
    mqtt=holds('extra["MessageExpiryInterval"] = ceil(seconds)', "ceil(seconds)"),
    postgresql=holds(" AND deadline > clock_timestamp()", ""),
)
def test_a_request_is_not_worked_on_in_vain(stage: Stage) -> None:
    set_up(stage)
    replier = stage.spawn("serve", replier="A", mode="hold")
    busy = request_all(stage, ["cat.mp4"], 30)
    assert stage.happens(lambda: bool(replier.taken), replier, busy)
    # Time enough that a busy machine sends it: what was not sent can't be worked on.
    assert stage.call("request_all", bodies=["dog.mp4"], seconds=3) == [TIMED_OUT]
    # A server counts from when the request reached it; Mosquitto may be a whole second behind.
    assert stage.stays(lambda: not replier.done, 2.5, no_longer=True)
    replier.release()
    # Mosquitto leaves a request in the queue that was there behind one that expired.
    assert stage.happens(lambda: busy.returned, busy)
    last = stage.call("request_all", bodies=["owl.mp4"], seconds=30)
    assert last == ["owl.mp4: done"]
    assert stage.happens(lambda: "owl.mp4" in replier.taken, replier)
    # On Kafka the dog may come from another partition, behind the owl.
    assert stage.stays(lambda: "dog.mp4" not in replier.taken, 0.5), IN_VAIN
    assert replier.taken == ["cat.mp4", "owl.mp4"]


@claim(
    "A malformed request or reply stops nobody, and is not taken for a reply.",
    seen=STRAYED,
    **CORRELATED,
)
def test_what_is_malformed_stops_nobody(stage: Stage) -> None:
    request, rude_request, reply, rude_reply = RUDE[stage.key]
    stage.replace(request, rude_request)
    stage.replace(reply, rude_reply)
    set_up(stage)
    replier = stage.spawn("serve", replier="A")
    cats = names("cat", 5)
    requestor = request_all(stage, cats, 30, at_once=1)
    assert stage.happens(lambda: requestor.returned, requestor, replier)
    assert "stray" not in requestor.value, STRAYED
    assert requestor.value == done(cats)
    assert stage.happens(lambda: replier.done == cats, replier)
    if stage.key not in {"minibroker", "postgresql"}:  # there: a dead letter, and impossible
        assert "not a request" in replier.process.errors()
