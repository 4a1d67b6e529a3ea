"""Where long-lived functions meet a fault: their servers, each behind a proxy.

All subjects of a broker act at the same time, and one fault hits all of them: waiting is no
computing. Each has a place of its own, so that two that use the same names do not meet. It comes
through the proxy, as a user with rights of its own; who feeds it goes round both.
"""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import psycopg
import redis

from tests.brokers import Server, make
from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.proxy import Proxy
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import free_port, wait_until
from tests.patterns.stage import Stage
from tests.snippets.running import companions
from tests.survival.subjects import Subject, driven, functions

#: These start within a moment: each subject has a server of its own.
ALONE = {"nats", "redis", "mqtt"}
#: Where Kafka sees come from who may lose a right: it knows its clients by nothing else.
SUBJECTS_ADDRESS = "127.0.0.2"
ADMIN = "admin"
ALL_TOPICS = "topic readwrite #"
#: Bytes: more is refused, here sooner than by default where that is many megabytes.
LARGEST = 1_000_000
#: What a server's log has each time that it has read its configuration again.
RELOADS = {"nats": "Reloaded server configuration", "mqtt": "Reloading config"}
#: Stands in a copy's text for the name of the place.
PREFIX = "zz-place-zz"
_numbers = itertools.count(1)

One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(eq=False)
class Front:
    """A server, set up for rights that can be taken away, and the proxy before it."""

    server: Server
    proxy: Proxy = field(init=False)

    def __post_init__(self) -> None:
        is_kafka = isinstance(self.server, Kafka)
        self.proxy = Proxy(
            free_port() if is_kafka else self.server.port_number,
            SUBJECTS_ADDRESS if is_kafka else "127.0.0.1",
        )
        self.configure()

    def configure(self) -> None:
        """Add to the server's configuration what the faults need."""
        server = self.server
        if isinstance(server, Kafka):
            _two_listeners(server, self.proxy.target, self.proxy.port)
        elif isinstance(server, Nats):
            nats_users(server, "")
        elif isinstance(server, Mosquitto):
            with server.configuration.open("a") as file:
                file.write(f"acl_file {server.data}/acl\nmax_packet_size {LARGEST}\n")
            mosquitto_rights(server, ALL_TOPICS)
        elif isinstance(server, Rabbitmq):
            with (server.data / "rabbitmq.conf").open("a") as file:
                file.write(f"max_message_size = {LARGEST}\n")
            # No fault here takes the machine's power, and a hundred queues wait for one disk: a
            # declaration whose leader is not elected within 5 s ends with INTERNAL_ERROR.
            (server.data / "advanced.config").write_text("[{ra, [{wal_sync_method, none}]}].\n")

    def start(self) -> None:
        """Start the server, or again on its data."""
        self.server.start()
        if self.server.key == "redis":  # it keeps neither
            with redis.Redis(port=self.server.port_number) as client:
                client.acl_setuser(
                    ADMIN, enabled=True, nopass=True, keys="*", channels="*", commands=["+@all"]
                )
                client.config_set("proto-max-bulk-len", 1024 * 1024)

    def begin_anew(self) -> None:
        """Start the server again, on nothing."""
        self.server.kill()
        shutil.rmtree(self.server.data)
        self.server.data.mkdir()
        self.server.prepare()
        self.proxy.target = self.server.port_number
        self.configure()
        self.start()

    def reload(self) -> None:
        """Have the server read its configuration again, before this returns."""
        server = self.server
        assert server._process

        def reloads() -> int:
            return server.log.read_text(errors="replace").count(RELOADS[server.key])

        before = reloads()
        server._signal(signal.SIGHUP, server._process.members())
        wait_until(lambda: reloads() > before, f"{server.broker.label} to reload")

    def address(self, path: str, *, beyond: bool) -> str:
        """Return the address for a subject, or for who feeds it: `beyond` proxy and rights."""
        port = self.server.port_number if beyond else self.proxy.port
        place = f"127.0.0.1:{port}"
        admin = f"{ADMIN}:{ADMIN}@" if beyond else ""
        match self.server.key:
            case "kafka":
                return place
            case "rabbitmq":
                return f"amqp://{admin or 'guest:guest@'}{place}/{path}"
            case "postgresql":
                return f"postgresql://{'postgres' if beyond else path}@{place}/{path}"
            case "redis":
                return f"redis://{admin}{place}/0"
            case key:
                return f"{key}://{admin}{place}"


@dataclass(eq=False)
class Place:
    """What one subject has: a server, a name of its own there, and two addresses."""

    front: Front
    own: str
    addresses: dict[str, str]
    beyond: dict[str, str]


@dataclass(eq=False)
class Arena:
    """The servers of one broker, started when they are first needed, and their ends."""

    key: str
    fronts: list[Front] = field(default_factory=list)
    idle: list[Front] = field(default_factory=list)
    database: Postgresql | None = None

    def front(self) -> Front:
        """Return a server for one subject, which has it for itself where that is cheap."""
        if self.key in ALONE and self.idle:
            front = self.idle.pop()
            front.begin_anew()
            return front
        if self.key not in ALONE and self.fronts:
            return self.fronts[0]
        front = Front(make(self.key))
        self.fronts.append(front)
        front.start()
        if isinstance(front.server, Rabbitmq):
            front.server.ask(f"users/{ADMIN}", "PUT", {"password": ADMIN, "tags": ""})
        return front

    def beside(self) -> Postgresql:
        """Return the database that some services have beside their broker."""
        if self.database is None:
            made = make("postgresql")
            assert isinstance(made, Postgresql)
            self.database = made
            made.start()
        return self.database

    def place(self, subject: Subject) -> Place:
        """Return a new, empty place for the subject."""
        front, own = self.front(), f"s{next(_numbers)}"
        variable = front.server.broker.variable
        assert variable
        if isinstance(front.server, Rabbitmq):
            front.server.ask(f"vhosts/{own}", "PUT", {})
            for user in ("guest", ADMIN):
                rabbitmq_rights(front.server, own, user, ".*")
            wait_until(partial(_runs, front.server, own), f"the virtual host {own}")
        elif isinstance(front.server, Postgresql):
            create_database(front.server, own)
        addresses, beyond = ({variable: front.address(own, beyond=each)} for each in (False, True))
        reads = any('"DATABASE_URL"' in text for text in files(subject).values())
        if reads and self.key != "postgresql":
            create_database(self.beside(), own)
            beside = {"DATABASE_URL": f"{self.beside().address.rpartition('/')[0]}/{own}"}
            addresses, beyond = addresses | beside, beyond | beside
        return Place(front, own, addresses, beyond)

    def leave(self, place: Place) -> None:
        """Take a place back."""
        if self.key in ALONE:
            self.idle.append(place.front)
        elif isinstance(place.front.server, Rabbitmq) and place.front.server.running:
            with suppress(OSError):  # nobody needs it any more
                place.front.server.ask(f"vhosts/{place.own}", "DELETE")

    def close(self) -> None:
        for front in self.fronts:
            front.proxy.close()
            front.server.close()
        if self.database:
            self.database.close()


def _runs(server: Rabbitmq, host: str) -> bool:
    states = server.ask(f"vhosts/{host}").get("cluster_state")  # a list, as long as there is none
    return isinstance(states, dict) and set(states.values()) == {"running"}


def _two_listeners(server: Kafka, target: int, proxy: int) -> None:
    """Give Kafka a listener that sends its clients to the proxy, and rights for addresses."""
    text = server.configuration.read_text()
    ours = f"PLAINTEXT://127.0.0.1:{server.port_number}"
    for line, port in (("\nlisteners=", target), ("advertised.listeners=", proxy)):
        assert f"{line}{ours}" in text
        text = text.replace(f"{line}{ours}", f"{line}PROXIED://127.0.0.1:{port},{ours}")
    text = text.replace("protocol.map=", "protocol.map=PROXIED:PLAINTEXT,")
    # A client would make a deleted topic again, with one partition, before its owner does.
    server.configuration.write_text(
        f"{text}auto.create.topics.enable=false\n"
        "allow.everyone.if.no.acl.found=true\n"
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
    )


def nats_users(server: Nats, rights: str) -> None:
    """Let everybody without a name have these rights; for all, write nothing."""
    kept = server.configuration.read_text().partition("authorization")[0]
    server.configuration.write_text(
        f"{kept}authorization {{\n  users: [\n"
        f"    {{user: {ADMIN}, password: {ADMIN}}}\n"
        f"    {{user: service, password: service{rights and f', permissions: {rights}'}}}\n"
        "  ]\n}\nno_auth_user: service\n"
    )


def mosquitto_rights(server: Mosquitto, rights: str) -> None:
    """Let everybody without a name have these rights."""
    acl = server.data / "acl"
    acl.write_text(f"{rights}\nuser {ADMIN}\n{ALL_TOPICS}\n")
    acl.chmod(0o644)


def rabbitmq_rights(server: Rabbitmq, host: str, user: str, pattern: str) -> None:
    rights = dict.fromkeys(("configure", "write", "read"), pattern)
    server.ask(f"permissions/{quote(host)}/{user}", "PUT", rights)


def create_database(server: Postgresql, name: str) -> None:
    """Create a database, and a role of the same name that may use, and not own, its tables."""
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute(f"CREATE ROLE {name} LOGIN REPLICATION")
        db.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(f"{server.address.rpartition('/')[0]}/{name}", autocommit=True) as db:
        db.execute("GRANT ALL ON SCHEMA public TO PUBLIC")  # some make their own table
        for what in ("TABLES", "SEQUENCES"):
            db.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {what} TO {name}")


def renamed(code: str, prefix: str) -> str:
    """Return the code with a prefix before each name that a constant of the module holds."""
    lines = code.splitlines(keepends=True)
    places = [
        (each.lineno, each.col_offset)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]).isupper()
        and not isinstance(node.value, (ast.Dict, ast.List, ast.JoinedStr))
        for each in ast.walk(node.value)
        if isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and re.fullmatch(r"[a-z][a-z._-]+", each.value)
    ]
    for line, column in sorted(places, reverse=True):
        text = lines[line - 1]
        if text[column] in "\"'":
            lines[line - 1] = f"{text[: column + 1]}{prefix}.{text[column + 1 :]}"
    return "".join(lines)


@cache
def files(subject: Subject) -> dict[str, str]:
    """Return what a subject's folder holds, by name; with PREFIX where it has names of its own.

    Python 3.11 may fail where two threads build syntax trees: call this first in the main one.
    """
    functions(subject.snippet)
    code = subject.snippet.read_text()
    code = code[: code.index("\n\nif __name__")]
    if subject.key == "kafka":
        code = renamed(code, PREFIX)
    return {
        subject.snippet.name: f"{code}{driven(subject)}\n",
        **{path.name: path.read_text() for path in companions(subject.snippet)},
    }


def stages(
    subject: Subject, place: Place, folder: Path, change: Callable[[Path], None] | None = None
) -> tuple[Stage, Stage]:
    """Return the subject's stage, and that of whoever feeds it, on the same copy."""
    home = folder / place.own
    home.mkdir()
    for name, text in files(subject).items():
        (home / name).write_text(text.replace(PREFIX, place.own))
    copy = home / subject.snippet.name
    if change:
        change(copy)
    server = place.front.server
    return (
        Stage(subject.key, copy, server, addresses=place.addresses),
        Stage(subject.key, copy, server, addresses=place.beyond),
    )


def side_by_side(work: Callable[[One], Other], over: list[One]) -> list[Other]:
    """Return what `work` returns for each, all at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(over))) as pool:
        return list(pool.map(work, over))
