"""The brokers of the handbook: their names, in the order in which every page shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Broker:
    """A broker as pages and tests name it.

    `variable` is the environment variable with its address; the minibroker has none,
    because it lives in the reader's own process. `also` are shorter names in tables and lists.
    A server is taught from version `oldest` on, and is of the newest generation from `newest` on.
    """

    key: str
    label: str
    variable: str | None
    default_address: str | None
    also: tuple[str, ...] = ()
    oldest: tuple[int, ...] = ()
    newest: tuple[int, ...] = ()

    @property
    def file_name(self) -> str:
        """The name of this broker's snippet in a pattern's folder.

        The prefix keeps a snippet called `redis.py` from shadowing the client it imports.
        """
        return f"on_{self.key}.py"


BROKERS = (
    Broker("minibroker", "Minibroker", None, None),
    Broker(
        "rabbitmq",
        "RabbitMQ",
        "RABBITMQ_URL",
        "amqp://guest:guest@127.0.0.1:5672/",
        oldest=(4, 0),
        newest=(4, 3),
    ),
    Broker("kafka", "Kafka", "KAFKA_BOOTSTRAP", "127.0.0.1:9092", oldest=(4, 0), newest=(4, 4)),
    Broker(
        "nats",
        "NATS JetStream",
        "NATS_URL",
        "nats://127.0.0.1:4222",
        ("NATS",),
        oldest=(2, 10),
        newest=(2, 15),
    ),
    Broker(
        "redis",
        "Redis Streams",
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        ("Redis",),
        oldest=(8, 0),
        newest=(8, 0, 6),
    ),
    Broker(
        "mqtt",
        "MQTT (Mosquitto)",
        "MQTT_URL",
        "mqtt://127.0.0.1:1883",
        ("MQTT", "Mosquitto"),
        oldest=(2, 0, 20),
        newest=(2, 1),
    ),
    Broker(
        "postgresql",
        "PostgreSQL",
        "DATABASE_URL",
        "postgresql://postgres@127.0.0.1:5432/postgres",
        oldest=(17,),
        newest=(18,),
    ),
)

BY_KEY = {broker.key: broker for broker in BROKERS}

#: Servers that speak a broker's protocol: the tests run its snippets on them too.
SUBSTITUTES = (
    Broker(
        "valkey",
        "Valkey",
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        oldest=(8, 1),
        newest=(9, 1),
    ),
)


_KEYS = {name: broker.key for broker in BROKERS for name in (broker.label, *broker.also)}
_BY_LENGTH = sorted(_KEYS, key=len, reverse=True)
_NAME = "|".join(map(re.escape, _BY_LENGTH))
_LEADING = re.compile(rf"(?:{_NAME})(?![A-Za-z])(?: \d[\d.]*)?")
_NEXT = re.compile(r",? and |, | or ")


def leading(text: str) -> list[str]:
    """Return the keys of the brokers whose names a text begins with: `Kafka, MQTT: …` has two."""
    found: list[str] = []
    start = len(text) - len(text.lstrip())
    while name := _LEADING.match(text, start):
        found.append(next(_KEYS[each] for each in _BY_LENGTH if name[0].startswith(each)))
        between = _NEXT.match(text, name.end())
        if not between:
            break
        start = between.end()
    return found


def addressed_in(code: str) -> list[Broker]:
    """Return the brokers whose addresses a snippet reads, in the order of the pages."""
    return [one for one in BROKERS if one.variable and f'"{one.variable}"' in code]


def named(key: str) -> Broker:
    """Return the broker called `key`; a `KeyError` names the keys there are."""
    substitutes = {each.key: each for each in SUBSTITUTES}
    try:
        return substitutes.get(key) or BY_KEY[key]
    except KeyError:
        known = ", ".join(BY_KEY)
        raise KeyError(f"no broker is called {key!r}; there are: {known}") from None
