"""A backup is taken while the server runs, and restored: what is there?

Three messages wait when it is taken. Then the first is acknowledged, and a fourth is published.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from tests.atlas.single import with_kafka as kafka
from tests.atlas.single import with_mqtt as mqtt
from tests.atlas.single import with_nats as nats
from tests.atlas.single import with_postgresql as postgresql
from tests.atlas.single import with_rabbitmq as rabbitmq
from tests.atlas.single import with_redis as redis
from tests.atlas.single.polite_restart import Forgetful
from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server
from tests.brokers.clients import jetstream
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.types.test_redis import Bare

ASKED = "backup"
WAITING = [0, 1, 2]
LATER = 3
#: Of a backup that holds: what is there, comes again, or is missing.
FOUND = {"there": len(WAITING), "again": 1, "missing": 1}
SAYS = "All {there} messages that waited when the backup was taken were there. {again} of them had been acknowledged since, and came again; {missing} that had been published since was missing."


@contextmanager
def beside(server: Server) -> Iterator[Path]:
    """Make a place for a backup."""
    with tempfile.TemporaryDirectory(dir=server.data.parent, prefix="backup-") as place:
        yield Path(place) / "backup"


def put_back(server: Server, folder: Path, backup: Path) -> None:
    """Lose a folder of the server, and start it again on its backup."""
    server.kill()
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    server.start()


def copied_and_put_back(server: Server, later: Callable[[], None]) -> None:
    """Copy the folder of the stopped server, go on, lose all, and start again on the copy."""
    with beside(server) as backup:
        server.stop()
        shutil.copytree(server.data, backup)
        server.start()
        later()
        put_back(server, server.data, backup)


async def _publish(server: Server, *numbers: int, get: bool = False) -> None:
    async with rabbitmq.opened(server.address) as channel:
        queue = await rabbitmq.declare(channel)
        if get:
            await (await queue.get()).ack()
        await rabbitmq.publish(channel, numbers)


async def _rest(server: Server) -> list[int]:
    async with rabbitmq.opened(server.address) as channel:
        queue = await channel.declare_queue(rabbitmq.QUEUE, passive=True)
        return await rabbitmq.rest(queue)


@trial(
    ASKED,
    "rabbitmq",
    "the definitions, exported and imported",
    holds=False,
    short="no messages",
    says="The queue was there with its settings, and none of the {missing} messages that had waited.",
    documented=Documented(
        agrees=True,
        says="A node has two types of data, definitions and messages. Definitions can be exported and imported; for messages, its folder is copied.",
        source="https://www.rabbitmq.com/docs/backup",
    ),
)
def rabbitmq_definitions(server: Server) -> Numbers:
    assert isinstance(server, Rabbitmq)
    asyncio.run(_publish(server, *WAITING))
    definitions = server.ask("definitions")
    server.empty()
    server.ask("definitions", "POST", definitions)
    assert not asyncio.run(_rest(server))
    return {"missing": len(WAITING)}


@trial(
    ASKED,
    "rabbitmq",
    "a copy of the stopped node's folder",
    holds=True,
    short="all of that time",
    says=f"{SAYS} The node had to be stopped for the copy.",
    documented=Documented(
        agrees=True,
        says="To back up messages on a node, it must be stopped first.",
        source="https://www.rabbitmq.com/docs/backup",
    ),
)
def rabbitmq_folder(server: Server) -> Numbers:
    asyncio.run(_publish(server, *WAITING))
    copied_and_put_back(server, lambda: asyncio.run(_publish(server, LATER, get=True)))
    assert asyncio.run(_rest(server)) == WAITING
    return FOUND


async def _commit_one(server: Server) -> None:
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        assert int((await worker.getone()).value) == 0
        await worker.commit()
    await kafka.publish(server.address, [LATER])


async def _consume(server: Server) -> list[int]:
    """Return what comes to the group, up to one that is published now."""
    await kafka.publish(server.address, [-1])
    found: list[int] = []
    async with kafka.consuming(server.address, auto_offset_reset="earliest") as worker:
        while -1 not in found:
            found.append(int((await worker.getone()).value))
    return found[:-1]


@trial(
    ASKED,
    "kafka",
    "a copy of the stopped server's folder",
    holds=True,
    short="all of that time",
    says=f"Kafka has no command for a backup, so the server was stopped for a copy. {SAYS}",
)
def kafka_folder(server: Server) -> Numbers:
    asyncio.run(kafka.create(server.address))
    asyncio.run(kafka.publish(server.address, WAITING))
    copied_and_put_back(server, lambda: asyncio.run(_commit_one(server)))
    assert asyncio.run(_consume(server)) == WAITING
    return FOUND


class Snapshots:
    """JetStream's requests for a snapshot of a stream, and for its restoration."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def _ask(self, subject: str, **wanted: Any) -> dict[str, Any]:
        answer = await self.connection.request(subject, json.dumps(wanted).encode(), timeout=60)
        told: dict[str, Any] = json.loads(answer.data)
        assert "error" not in told, told
        return told

    async def take(self, stream: str) -> tuple[dict[str, Any], list[bytes]]:
        """Return the stream's configuration and state, and the parts of its snapshot."""
        to, parts, ended = self.connection.new_inbox(), [], asyncio.Event()

        async def part(message: Msg) -> None:
            if message.data:
                parts.append(message.data)
                await message.respond(b"")
            else:
                ended.set()

        await self.connection.subscribe(to, cb=part)
        told = await self._ask(f"$JS.API.STREAM.SNAPSHOT.{stream}", deliver_subject=to)
        async with asyncio.timeout(60):
            await ended.wait()
        return {"config": told["config"], "state": told["state"]}, parts

    async def restore(self, stream: str, what: dict[str, Any], parts: list[bytes]) -> None:
        told = await self._ask(f"$JS.API.STREAM.RESTORE.{stream}", **what)
        for part in [*parts, b""]:
            answer = await self.connection.request(told["deliver_subject"], part, timeout=60)
        assert "error" not in json.loads(answer.data), answer.data


@trial(
    ASKED,
    "nats",
    "a snapshot of the stream, as `nats stream backup` asks for it",
    holds=True,
    short="all of that time",
    says=f"{SAYS} The durable consumer was in the snapshot too.",
    documented=Documented(
        agrees=True,
        says="A snapshot is a copy of a stream in files at one instant, with the position of each durable consumer by default.",
        source="https://docs.nats.io/learn/backup-recovery/stream-backup-restore",
    ),
)
def nats_snapshot(server: Server) -> Numbers:
    async def run() -> list[str]:
        async with jetstream(server) as context:
            worker = await nats.durable(context)
            await nats.publish(context, *WAITING)
            snapshots = Snapshots(context._nc)
            snapshot = await snapshots.take(nats.STREAM)
            [first] = await nats.take(worker)
            await first.ack_sync(timeout=60)
            await nats.publish(context, LATER)
            await context.delete_stream(nats.STREAM)
            await snapshots.restore(nats.STREAM, *snapshot)
            assert await nats.there(context) == [str(number) for number in WAITING]
            names = [consumer.name for consumer in await context.consumers_info(nats.STREAM)]
            assert names == [nats.DURABLE]
            return [one.data.decode() for one in await nats.take(worker, len(WAITING))]

    assert asyncio.run(run()) == [str(number) for number in WAITING]
    return FOUND


def _save(own: Server) -> bytes:
    """Add, take a snapshot, and go on; return the snapshot."""
    with redis.connected(own) as client:
        redis.grouped(client)
        redis.add(client, *WAITING)
        before = client.lastsave()
        wait_until(lambda: client.time()[0] > before.timestamp(), "the next second")
        client.bgsave()
        wait_until(lambda: bool(client.lastsave() > before), "the snapshot")
        [(entry, _)] = redis.read(client)
        client.xack(redis.STREAM, redis.GROUP, entry)
        redis.add(client, LATER)
    return (own.data / "dump.rdb").read_bytes()


def _load(own: Server, snapshot: bytes) -> list[str]:
    """Start on an empty folder with the snapshot; return what comes to the group."""
    own.kill()
    shutil.rmtree(own.data)
    own.data.mkdir()
    (own.data / "dump.rdb").write_bytes(snapshot)
    own.start()
    with redis.connected(own) as client:
        if not client.exists(redis.STREAM):
            return []
        return [body for _, body in redis.read(client, count=10)]


@trial(
    ASKED,
    "redis",
    "`BGSAVE`, restored on a server without `appendonly`",
    holds=True,
    short="all of that time",
    says=SAYS,
    documented=Documented(
        agrees=True,
        says="The file of a snapshot can be copied while the server runs, as it is never modified once it is there.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_bgsave(server: Server) -> Numbers:
    with server.another(Bare) as own:
        assert _load(own, _save(own)) == [str(number) for number in WAITING]
    return FOUND


@trial(
    ASKED,
    "redis",
    "`BGSAVE`, restored on a server with `appendonly yes`",
    holds=False,
    short="nothing, no error",
    says="The server started without an error and was empty: with `appendonly yes`, it did not read the snapshot. None of the {missing} messages was there.",
    documented=Documented(
        agrees=True,
        says="With `appendonly yes`, Redis starts from the append-only file. To switch from snapshots to it, turn it on while the server runs: to change the configuration and restart can lose data.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
)
def redis_append(server: Server) -> Numbers:
    assert not _load(server, _save(server))
    return {"missing": len(WAITING)}


def _save_sessions(own: Server) -> None:
    assert own._process
    own._signal(signal.SIGUSR1, own._process.members())


def _wait_in_session(own: Server, *bodies: int) -> None:
    with mqtt.session(own, "worker", expiry=3600) as worker:
        worker.subscribe("videos")
    with mqtt.session(own) as producer:
        for body in bodies:
            producer.publish("videos", str(body))


@trial(
    ASKED,
    "mqtt",
    "`persistence false`",
    default=True,
    holds=False,
    short="no file",
    says="There was nothing to copy: the server wrote no file when it was asked to save, and none when it ended.",
)
def mqtt_default(server: Server) -> Numbers:
    with server.another(Forgetful) as own:
        _wait_in_session(own, *WAITING)
        _save_sessions(own)
        own.stop()
        assert not list(own.data.rglob("*.db"))
    return {}


@trial(
    ASKED,
    "mqtt",
    "`persistence true`, SIGUSR1, a copy of `mosquitto.db`",
    holds=True,
    short="all of that time",
    says=SAYS,
    documented=Documented(
        agrees=True,
        says="On SIGUSR1, Mosquitto writes its persistence file, if persistence is on.",
        source="https://mosquitto.org/man/mosquitto-8.html",
    ),
)
def mqtt_saved(server: Server) -> Numbers:
    _wait_in_session(server, *WAITING)
    database = server.data / "mosquitto.db"
    database.unlink(missing_ok=True)
    _save_sessions(server)
    wait_until(database.exists, "the file to be written")
    backup = database.read_bytes()
    with mqtt.session(server, "worker", expiry=3600) as worker:
        worker.comes(*map(str, WAITING))
        worker.ack(worker.received[0])
        worker.publish("videos", str(LATER))
    server.stop()  # it saves what came since, which the backup replaces
    database.write_bytes(backup)
    server.start()
    with mqtt.session(server, "worker", expiry=3600) as worker:
        assert worker.present
        worker.comes(*map(str, WAITING))
        worker.settled()
        assert len(worker.received) == len(WAITING)
    return FOUND


def _go_on(server: Server) -> None:
    with postgresql.connect(server) as connection:
        assert postgresql.work(connection) == "0"
        postgresql.publish(connection, str(LATER))


def _begin(server: Server) -> None:
    with postgresql.connect(server) as connection:
        postgresql.declare(connection)
        postgresql.publish(connection, *map(str, WAITING))


def _waiting(server: Server) -> list[int]:
    with postgresql.connect(server) as connection:
        return [int(body) for body in postgresql.waiting(connection)]


@trial(
    ASKED,
    "postgresql",
    "`pg_dump`, restored with `psql`",
    holds=True,
    short="all of that time",
    says=SAYS,
    documented=Documented(
        agrees=True,
        says="`pg_dump` makes consistent backups even while the database is in use, and blocks no other users.",
        source="https://www.postgresql.org/docs/18/app-pgdump.html",
    ),
)
def postgresql_dump(server: Server) -> Numbers:
    _begin(server)
    dumped = subprocess.run(
        server.source.command("pg_dump", server.address), capture_output=True, check=True
    ).stdout
    _go_on(server)
    with postgresql.connect(server) as connection:
        connection.execute("DROP TABLE tasks")
    subprocess.run(
        server.source.command("psql", "-q", "-v", "ON_ERROR_STOP=1", server.address),
        input=dumped,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert _waiting(server) == WAITING
    return FOUND


@trial(
    ASKED,
    "postgresql",
    "`pg_basebackup`",
    holds=True,
    short="all of that time",
    says=SAYS,
    documented=Documented(
        agrees=True,
        says="`pg_basebackup` copies the files of a running server, for recovery to a point in time or as the start of a standby.",
        source="https://www.postgresql.org/docs/18/app-pgbasebackup.html",
    ),
)
def postgresql_base(server: Server) -> Numbers:
    assert isinstance(server, Postgresql)
    _begin(server)
    with beside(server) as backup:
        subprocess.run(
            server.source.command(
                "pg_basebackup",
                *("-D", str(backup), "-d", server.address, "--checkpoint=fast", "--no-sync"),
            ),
            check=True,
        )
        _go_on(server)
        put_back(server, server.database, backup)
    assert _waiting(server) == WAITING
    return FOUND
