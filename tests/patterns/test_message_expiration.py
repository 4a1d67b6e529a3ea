"""Message expiration: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Actor, Stage

CAT, DOG, OWL = "cat.mp4 is live", "dog.mp4 starts now", "owl.mp4 is live"
LATER = "ant.mp4 is live"
#: Seconds for which a message is good. MQTT counts them whole.
SOON, LONG = 1, 60

LATE = "The message is delivered, although its time is over."
GONE = "The messages before and behind the expired one are gone, too."
AGAIN = "The message is delivered again, although its time is over."
PASSED_OVER = "The message is passed over."


def wait_until_late(stage: Stage) -> None:
    """Let the short time pass; Mosquitto looks at its clock once a second."""
    seconds = SOON + (1.2 if stage.key == "mqtt" else 0.3)
    stage.stays(lambda: True, seconds, no_longer=True)


def takes_one_in_time(stage: Stage, worker: Actor, task: str, seconds: float) -> bool:
    """Submit a task again and again until the worker is there before its time is over."""

    def taken() -> bool:
        stage.call("submit", tasks=[task], seconds=seconds)
        return not stage.stays(lambda: task not in worker.taken, 2, no_longer=True)

    return stage.happens(taken, worker)


@claim(
    "A message that expired while nobody took it is not delivered.",
    promise=True,
    seen=LATE,
    minibroker=holds(", ttl=seconds", ""),
    rabbitmq=holds(", expiration=seconds", ""),
    kafka=holds(
        "if not too_late(record):",
        "if True:",
        with_help="a header with the time to live, which the worker checks",
    ),
    nats=holds(
        "if not too_late(message):",
        "if True:",
        with_help="a header with the time to live, which the worker checks; native from 2.11 on",
    ),
    redis=holds(
        "if not await too_late(redis, number, fields):",
        "if True:",
        with_help="a field with the time to live, which the worker checks",
    ),
    mqtt=holds(", MessageExpiryInterval=expiry", ""),
    postgresql=holds(
        "WHERE expires > clock_timestamp()\n",
        "\n",
        with_help="a column with the time, in the worker's `WHERE`",
    ),
)
def test_what_expired_is_never_delivered(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=[DOG], seconds=SOON)
    wait_until_late(stage)
    stage.call("submit", tasks=[CAT], seconds=LONG)
    worker = stage.spawn("work", worker="A")
    assert stage.happens(lambda: CAT in worker.done, worker)
    assert stage.stays(lambda: DOG not in worker.taken, 0.3), LATE
    assert worker.taken == [CAT]


@claim(
    "Each message has its own time: when one expires while no worker is there, those before and"
    " behind it are delivered.",
    seen=GONE,
    minibroker=holds("ttl=seconds", "ttl=1"),
    rabbitmq=holds("expiration=seconds", "expiration=1"),
    kafka=holds("str(seconds)", "str(1)"),
    nats=holds("str(seconds)", "str(1)"),
    redis=holds('"ttl": seconds', '"ttl": 1'),
    mqtt=holds("math.ceil(seconds)", "1"),
    postgresql=holds("[task, seconds]", "[task, 1]"),
)
def test_each_message_has_its_own_time(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=[CAT], seconds=LONG)
    stage.call("submit", tasks=[DOG], seconds=SOON)
    stage.call("submit", tasks=[OWL], seconds=LONG)
    wait_until_late(stage)
    worker = stage.spawn("work", worker="A")
    # What it takes now is behind all of them.
    assert takes_one_in_time(stage, worker, LATER, LONG)
    taken = [task for task in worker.taken if task != LATER]
    assert {CAT, OWL} <= {*taken}, GONE
    assert taken == [CAT, OWL]


@claim(
    "A message whose worker dies after its time is not delivered again when that worker is back.",
    seen=AGAIN,
    minibroker=holds("ttl=seconds", "ttl=60"),
    rabbitmq=holds("expiration=seconds", "expiration=60"),
    kafka=holds("str(seconds)", "str(60)"),
    nats=holds("str(seconds)", "str(60)"),
    redis=holds('"ttl": seconds', '"ttl": 60'),
    mqtt=holds("math.ceil(seconds)", "60"),
    postgresql=holds("[task, seconds]", "[task, 60]"),
)
def test_a_late_message_is_not_delivered_again(stage: Stage) -> None:
    stage.call("declare")
    killed = stage.spawn("work", worker="A", mode="hold", only="dog")
    stage.call("submit", tasks=[OWL], seconds=LONG)
    assert stage.happens(lambda: bool(killed.done), killed)
    assert takes_one_in_time(stage, killed, DOG, 2)
    assert stage.stays(lambda: len(killed.done) == 1, 3.2, no_longer=True)
    killed.kill()
    stage.call("submit", tasks=[CAT], seconds=LONG)
    again = stage.spawn("work", worker="A")
    assert stage.happens(lambda: CAT in again.done, again)
    assert stage.stays(lambda: DOG not in again.taken, stage.redelivery), AGAIN


#: What makes `submit()` send a time that nobody can read, where it is told 0 seconds.
BROKEN = {
    "minibroker": ("ttl=seconds", 'ttl=seconds or "soon"'),
    "rabbitmq": ("expiration=seconds", 'expiration=seconds or "soon"'),
    "kafka": ("str(seconds)", 'str(seconds or "soon")'),
    "nats": ("str(seconds)", 'str(seconds or "soon")'),
    "redis": ('"ttl": seconds', '"ttl": seconds or "soon"'),
    "mqtt": ("math.ceil(seconds)", 'math.ceil(seconds) or "soon"'),
    "postgresql": ("[task, seconds]", '[task, seconds or "soon"]'),
}


@claim(
    "A message whose time can't be read is delivered, and stops nobody.",
    seen=PASSED_OVER,
    minibroker=differs("It can't be sent: `submit()` fails."),
    rabbitmq=differs("It can't be sent: `submit()` fails in the client."),
    kafka=holds('number_in(record, "ttl", inf)', 'number_in(record, "ttl", -inf)'),
    nats=holds("return False  # no time", "return True  # no time"),
    redis=holds("return False  # no time", "return True  # no time"),
    mqtt=differs("It can't be sent: `submit()` fails in the client."),
    postgresql=differs("It can't be stored: `submit()` fails."),
)
def test_a_broken_time_stops_nobody(stage: Stage) -> None:
    stage.replace(*BROKEN[stage.key])
    stage.call("declare")
    sending = stage.spawn("submit", tasks=[CAT], seconds=0)
    assert stage.happens(lambda: sending.ended, sending)
    assert bool(sending.error) != stage.holds
    stage.call("submit", tasks=[OWL], seconds=LONG)
    worker = stage.spawn("work", worker="A")
    assert stage.happens(lambda: OWL in worker.done, worker)
    if stage.holds:
        assert CAT in worker.done, PASSED_OVER
    else:
        assert worker.taken == [OWL]
