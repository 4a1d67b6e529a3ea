"""What a service meets in a long life. Each fault is begun, and ended, for all subjects at once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import nats
import psycopg
import redis
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.brokers.kafka import Kafka, ask
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.patterns.stage import SnippetError
from tests.survival import garbage as odd
from tests.survival.arena import (
    ADMIN,
    ALL_TOPICS,
    SUBJECTS_ADDRESS,
    Front,
    mosquitto_rights,
    nats_users,
    rabbitmq_rights,
    side_by_side,
)
from tests.survival.life import Life, over
from tests.survival.subjects import Subject

TAKERS = {"consumer", "replier"}


@dataclass(frozen=True)
class Fault:
    """`strike` is a context: within it the fault lasts. `says` is its name on the page.

    `lasting` faults go on while the subject is watched. One that `leaves` something behind makes
    way for nobody: what comes then begins anew, elsewhere.
    """

    name: str
    says: str
    strike: Callable[[list[Life]], Iterator[None]]
    concerns: Callable[[Subject], bool] = lambda _: True
    lasting: bool = False
    leaves: bool = False


def fronts(lives: list[Life]) -> list[Front]:
    return list(dict.fromkeys(life.place.front for life in lives))


def pause(seconds: float) -> None:
    """Let a fault last: that is what is tested here, and no condition ends it."""
    over.wait(seconds)


def kill_all(lives: list[Life]) -> None:
    for front in fronts(lives):
        if isinstance(front.server, Rabbitmq):
            front.server.write_down_queues()
        front.server.kill()


def restart(lives: list[Life]) -> Iterator[None]:
    kill_all(lives)
    for front in fronts(lives):
        front.start()
    yield


def away(lives: list[Life]) -> Iterator[None]:
    kill_all(lives)
    pause(30)
    for front in fronts(lives):
        front.start()
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


def hit(work: Callable[[Life], object], lives: list[Life]) -> None:
    """Do this to each life, all at the same time; who is missed is not judged by it."""

    def one(life: Life) -> None:
        try:
            work(life)
        except Exception as error:
            life.missed = f"{type(error).__name__}: {error}"

    side_by_side(one, lives)


def made_again(lives: list[Life]) -> Iterator[None]:
    hit(delete_all, lives)

    def prepare(life: Life) -> None:
        with suppress(SnippetError, TimeoutError):  # some subscribe, and are subscribed still
            life.prepare()

    hit(prepare, lives)
    yield


def forbidden(lives: list[Life]) -> Iterator[None]:
    """Take every right away from the subjects; those who feed them keep theirs."""
    servers = fronts(lives)
    if isinstance(servers[0].server, Kafka):
        asyncio.run(_kafka_rights(servers[0].server, taken=True))
    for life in lives:
        _rights(life, taken=True)
    try:
        yield
    finally:
        if isinstance(servers[0].server, Kafka):
            asyncio.run(_kafka_rights(servers[0].server, taken=False))
        for life in lives:
            _rights(life, taken=False)


def told(what: str) -> Callable[[list[Life]], Iterator[None]]:
    """Return a strike that sends a message which tells the handler what to do."""

    def strike(lives: list[Life]) -> Iterator[None]:
        hit(lambda life: life.told(what), lives)
        yield

    return strike


def too_slow(lives: list[Life]) -> Iterator[None]:
    """Let the handlers work for longer than any lease, which the snippets have set to seconds."""
    hit(lambda life: life.told("must-hold"), lives)
    with _consumer_timeout(lives[0].place.front):
        pause(12)
    for life in lives:
        assert life.actor
        life.release()
    yield


@contextmanager
def _consumer_timeout(front: Front) -> Iterator[None]:
    """Lower RabbitMQ's limit on a delivery's time, half an hour, to what others have."""
    if not isinstance(front.server, Rabbitmq):
        yield
        return
    setting = "application:set_env(rabbit, {}, {})".format
    change = [setting("consumer_timeout", 3000), setting("channel_tick_interval", 1000)]
    back = [setting("consumer_timeout", 1800000), setting("channel_tick_interval", 60000)]
    front.server.control("eval", ", ".join(change) + ".")
    try:
        yield
    finally:
        front.server.control("eval", ", ".join(back) + ".")


def garbage(lives: list[Life]) -> Iterator[None]:
    hit(lambda life: odd.send(life, metadata=False), lives)
    yield


def metadata(lives: list[Life]) -> Iterator[None]:
    hit(lambda life: odd.send(life, metadata=True), lives)
    yield


def too_large(lives: list[Life]) -> Iterator[None]:
    def send(life: Life) -> None:
        mark = life.stage.snippet.with_name("large")
        mark.touch()
        wait_until(lambda: not mark.exists() or not life.well, "it to send a large message")

    hit(send, lives)
    yield


def sigterm(_: list[Life]) -> Iterator[None]:
    yield  # see `Life.leave`


def delete_all(life: Life) -> None:
    """Delete the queues, topics, streams or tables of one subject."""
    server, own = life.place.front.server, life.place.own
    if isinstance(server, Rabbitmq):
        for queue in server.ask(f"queues/{own}?disable_stats=true"):
            with suppress(OSError):  # it may be gone with its only consumer
                server.ask(f"queues/{own}/{queue['name']}", "DELETE")
    elif isinstance(server, Kafka):
        if topics := [topic for topic in server.topics() if topic.startswith(f"{own}.")]:
            asyncio.run(_delete_topics(server, topics))
    elif isinstance(server, Postgresql):
        with psycopg.connect(f"{server.address.rpartition('/')[0]}/{own}", autocommit=True) as db:
            db.execute("DROP SCHEMA public CASCADE")
            db.execute("CREATE SCHEMA public")
            db.execute("GRANT ALL ON SCHEMA public TO PUBLIC")
    elif server.key == "redis":
        with redis.Redis(port=server.port_number, username=ADMIN, password=ADMIN) as client:
            client.flushall()
    elif isinstance(server, Nats):
        asyncio.run(_delete_streams(server))
    elif isinstance(server, Mosquitto):
        _end_sessions(server)


async def _delete_topics(server: Kafka, topics: list[str]) -> None:
    """Delete topics, and don't wait until they are gone: a client that lives makes them again."""
    await ask(server.address, lambda admin: admin.delete_topics(topics))


async def _delete_streams(server: Nats) -> None:
    client = await nats.connect(f"nats://{ADMIN}:{ADMIN}@127.0.0.1:{server.port_number}")
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(stream.config.name or "")
    finally:
        await client.close()


def _end_sessions(server: Mosquitto) -> None:
    """Begin all sessions of a Mosquitto anew: what they held is gone, and so are their clients."""
    names = set(re.findall(r" as (\S+) \(p5, c0", server.log.read_text()))
    for name in names:
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        client.connect("127.0.0.1", server.port_number, clean_start=True)
        client.loop_start()
        wait_until(client.is_connected, f"Mosquitto to take {name}")
        client.disconnect()
        client.loop_stop()


def _rights(life: Life, *, taken: bool) -> None:
    front, own = life.place.front, life.place.own
    server = front.server
    if isinstance(server, Rabbitmq):
        rabbitmq_rights(server, own, "guest", "^$" if taken else ".*")
    elif isinstance(server, Postgresql):
        change = "REVOKE ALL ON ALL {} IN SCHEMA public FROM {}"
        if not taken:
            change = "GRANT ALL ON ALL {} IN SCHEMA public TO {}"
        with psycopg.connect(f"{server.address.rpartition('/')[0]}/{own}", autocommit=True) as db:
            for what in ("TABLES", "SEQUENCES"):
                db.execute(change.format(what, own))
            # Who reads a replication slot needs no right on any table.
            db.execute(f"ALTER ROLE {own} {'NO' if taken else ''}REPLICATION")
    elif server.key == "redis":
        with redis.Redis(port=server.port_number, username=ADMIN, password=ADMIN) as client:
            # It may still connect, which is what a forgotten right looks like.
            rights = "-@all +@connection" if taken else "+@all"
            client.execute_command("ACL", "SETUSER", "default", *rights.split())
    elif isinstance(server, Nats):
        none = '{publish: {deny: ">"}, subscribe: {deny: ">"}}'
        nats_users(server, none if taken else "")
        front.reload()
    elif isinstance(server, Mosquitto):
        mosquitto_rights(server, "" if taken else ALL_TOPICS)
        front.reload()


async def _kafka_rights(server: Kafka, *, taken: bool) -> None:
    """Deny all topics of subjects to the address from which they come, and to no other."""
    topic, prefixed, everything, deny, allow = 2, 4, 2, 2, 3

    async def change(admin: AIOKafkaAdminClient) -> None:
        for host, permission in ((SUBJECTS_ADDRESS, deny), ("127.0.0.1", allow)):
            rule = (topic, "s", prefixed, "User:ANONYMOUS", host, everything, permission)
            await admin._send_request((CreateAclsRequest if taken else DeleteAclsRequest)(*rule))

    await ask(server.address, change)


def takes(subject: Subject) -> bool:
    return subject.kind in TAKERS


def obeys(subject: Subject) -> bool:
    return subject.obeys


FAULTS = [
    Fault("restart", "the server is killed and started again", restart),
    Fault("away", "the server is away for 30 s", away),
    Fault("frozen", "the server stands still for 10 s", frozen),
    Fault("cut", "the connections are cut", cut),
    Fault("silence", "the connections stay, and carry nothing", silence, leaves=True),
    Fault("forbidden", "its rights are taken away", forbidden, lasting=True),
    Fault("made_again", "its queue is deleted, and made again", made_again),
    Fault("sigterm", "SIGTERM in the middle of work", sigterm),
    Fault("raises_once", "its handler raises once", told("must-fail-once"), obeys),
    Fault("too_slow", "its handler takes 12 s", too_slow, obeys, leaves=True),
    Fault(
        "too_large",
        "it sends more than the broker takes",
        too_large,
        lambda one: one.kind == "publisher" and one.key != "postgresql",
    ),
    Fault("garbage", "a message's body is no text", garbage, takes, leaves=True),
    Fault(
        "metadata",
        "a message's headers or id are odd",
        metadata,
        lambda one: takes(one) and one.key != "postgresql",
        leaves=True,
    ),
    Fault(
        "raises_always",
        "its handler raises each time",
        told("must-fail-always"),
        obeys,
        leaves=True,
    ),
]
#: Those that hit the whole server have one of their own: the others go on meanwhile.
LANES = [("restart", "away", "frozen"), tuple(one.name for one in FAULTS[3:])]


@contextmanager
def struck(fault: Fault, lives: list[Life]) -> Iterator[None]:
    yield from fault.strike(lives)


def now() -> float:
    return time.time()
