"""Message expiration: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage

LONG = 60


def soon(stage: Stage) -> float:
    """Return the seconds for which a message is good: MQTT counts them whole."""
    return 1 if stage.key == "mqtt" else 0.5


def wait_until_late(stage: Stage) -> None:
    """Let that time pass; Mosquitto looks at its clock once a second."""
    seconds = soon(stage) + (1.2 if stage.key == "mqtt" else 0.3)
    stage.stays(lambda: True, seconds, no_longer=True)


@claim(
    "A message that expired while nobody took it is never delivered.",
    promise=True,
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
    stage.call("submit", tasks=["dog.mp4 starts now"], seconds=soon(stage))
    wait_until_late(stage)
    stage.call("submit", tasks=["cat.mp4 is live"], seconds=LONG)
    worker = stage.spawn("work", worker="A")
    assert stage.happens(lambda: "cat.mp4 is live" in worker.done, worker)
    assert stage.stays(lambda: worker.taken == ["cat.mp4 is live"], 0.3)


@claim(
    "Each message has its own time: what expired holds back nothing before or behind it.",
    minibroker=holds("ttl=seconds", "ttl=0.5"),
    rabbitmq=holds("expiration=seconds", "expiration=0.5"),
    kafka=holds("str(seconds)", "str(0.5)"),
    nats=holds("str(seconds)", "str(0.5)"),
    redis=holds('"ttl": seconds', '"ttl": 0.5'),
    mqtt=holds("math.ceil(seconds)", "math.ceil(0.5)"),
    postgresql=holds("[task, seconds]", "[task, 0.5]"),
)
def test_each_message_has_its_own_time(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=["cat.mp4 is live"], seconds=LONG)
    stage.call("submit", tasks=["dog.mp4 starts now"], seconds=soon(stage))
    stage.call("submit", tasks=["owl.mp4 is live"], seconds=LONG)
    wait_until_late(stage)
    worker = stage.spawn("work", worker="A")
    assert stage.happens(lambda: "owl.mp4 is live" in worker.done, worker)
    assert worker.done == ["cat.mp4 is live", "owl.mp4 is live"]


@claim(
    "A message whose worker dies after its time is not delivered again.",
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
    stage.call("submit", tasks=["owl.mp4 is live"], seconds=LONG)
    assert stage.happens(lambda: bool(killed.done), killed)

    def takes_one_in_time() -> bool:
        stage.call("submit", tasks=["dog.mp4 starts now"], seconds=2)
        return not stage.stays(lambda: "dog.mp4 starts now" not in killed.taken, 2)

    assert stage.happens(takes_one_in_time, killed)
    assert stage.stays(lambda: len(killed.done) == 1, 3.2, no_longer=True)
    killed.kill()
    stage.call("submit", tasks=["cat.mp4 is live"], seconds=LONG)
    other = stage.spawn("work", worker="A")
    assert stage.happens(lambda: "cat.mp4 is live" in other.done, other)
    again = stage.stays(lambda: "dog.mp4 starts now" not in other.taken, stage.redelivery)
    assert again if stage.holds else not again


#: What makes `submit()` send a time that nobody can read.
BROKEN = {
    "minibroker": ("ttl=seconds", 'ttl="soon"'),
    "rabbitmq": ("expiration=seconds", 'expiration="soon"'),
    "kafka": ("str(seconds)", '"soon"'),
    "nats": ("str(seconds)", '"soon"'),
    "redis": ('"ttl": seconds', '"ttl": "soon"'),
    "mqtt": ("math.ceil(seconds)", '"soon"'),
    "postgresql": ("[task, seconds]", '[task, "soon"]'),
}


@claim(
    "A message whose time can't be read is delivered, and stops nobody.",
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
    sending = stage.spawn("submit", tasks=["cat.mp4 is live"], seconds=LONG)
    worker = stage.spawn("work", worker="A")
    if stage.holds:
        assert stage.happens(lambda: worker.done == ["cat.mp4 is live"], worker)
    else:
        assert stage.happens(lambda: bool(sending.error), sending)
        assert stage.stays(lambda: not worker.taken, 0.3)
