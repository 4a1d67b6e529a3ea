"""What a service meets in a long life. Each fault is begun, and ended, for all subjects at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import redis
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.brokers.kafka import Kafka
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.survival.arena import Front, Life


@dataclass(frozen=True)
class Fault:
    """`strike` is a context: within it the fault lasts. `says` is its name on the page."""

    name: str
    says: str
    strike: Callable[[list[Life]], Iterator[None]]
    #: What the handler does: see `Stage.spawn`. Only the messages named "poison" are concerned.
    handler: dict[str, object] | None = None


def fronts(lives: list[Life]) -> list[Front]:
    return list(dict.fromkeys(life.front for life in lives))


def pause(seconds: float) -> None:
    """Let a fault last: that is what is tested here, and no condition ends it."""
    time.sleep(seconds)


def restart(lives: list[Life]) -> Iterator[None]:
    for front in fronts(lives):
        front.server.kill()
    for front in fronts(lives):
        front.server.start()
    yield


def away(lives: list[Life]) -> Iterator[None]:
    for front in fronts(lives):
        front.server.kill()
    pause(30)
    for front in fronts(lives):
        front.server.start()
    yield


def frozen(lives: list[Life]) -> Iterator[None]:
    for front in fronts(lives):
        front.server.freeze()
    pause(10)
    for front in fronts(lives):
        front.server.thaw()
    yield


def cut(lives: list[Life]) -> Iterator[None]:
    for front in fronts(lives):
        front.proxy.cut()
    yield


def silence(lives: list[Life]) -> Iterator[None]:
    for front in fronts(lives):
        front.proxy.silence()
    yield


def made_again(lives: list[Life]) -> Iterator[None]:
    for life in lives:
        delete_all(life)
    yield


def handler_raises(_: list[Life]) -> Iterator[None]:
    yield


def delete_all(life: Life) -> None:
    """Delete the queues, topics, streams or tables of one subject."""
    server = life.front.server
    if isinstance(server, Rabbitmq):
        for queue in server.ask(f"queues/{life.own}"):
            server.ask(f"queues/{life.own}/{queue['name']}", "DELETE")
    elif isinstance(server, Kafka):
        server.delete([topic for topic in server.topics() if topic.startswith(f"{life.own}.")])
    elif isinstance(server, Postgresql):
        with psycopg.connect(life.front.server.address.rsplit("/", 1)[0] + f"/{life.own}") as db:
            db.execute("SET lock_timeout = '20s'")
            db.execute("DROP SCHEMA public CASCADE")
            db.execute("CREATE SCHEMA public")
    elif server.key == "redis":
        redis.Redis(port=server.port_number).flushall()
    elif isinstance(server, Nats):
        server.delete_streams()
    else:
        end_sessions(server.port_number)


def end_sessions(port: int) -> None:
    """Begin the known sessions of a Mosquitto anew: what they held is gone."""
    for name in ("A", "notifier", "archive"):
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        client.connect("127.0.0.1", port, clean_start=True)
        client.loop_start()
        client.disconnect()
        client.loop_stop()


FAULTS = [
    Fault("restart", "the server is killed and started again on its data", restart),
    Fault("away", "the server is away for 30 s", away),
    Fault("frozen", "the server stands still for 10 s", frozen),
    Fault("cut", "the connections are cut", cut),
    Fault("silence", "the open connections carry nothing any more", silence),
    Fault("made_again", "its queue, topic, stream or table is deleted, and made again", made_again),
    Fault(
        "raises_once",
        "the handler raises once",
        handler_raises,
        {"mode": "fail", "only": "poison", "times": 1},
    ),
    Fault(
        "raises_always",
        "the handler raises on one message, each time",
        handler_raises,
        {"mode": "fail", "only": "poison"},
    ),
]


@contextmanager
def struck(fault: Fault, lives: list[Life]) -> Iterator[None]:
    yield from fault.strike(lives)
