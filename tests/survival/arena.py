"""Where long-lived functions meet a fault: their servers, each behind a proxy.

All subjects of a broker act at the same time, and one fault hits all of them: waiting is no
computing. Each has a place of its own, so that two that use the same names do not meet.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.brokers import Server, make
from tests.brokers.kafka import Kafka
from tests.brokers.postgresql import Postgresql
from tests.brokers.proxy import Proxy
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.patterns.stage import Stage
from tests.snippets.running import download, whole_code
from tests.survival.subjects import Subject, driver

#: These start within a moment: each subject has a server of its own.
ALONE = {"nats", "redis", "mqtt"}
_numbers = itertools.count(1)


@dataclass(eq=False)
class Front:
    """A server and the proxy before it."""

    server: Server
    proxy: Proxy

    def address(self, path: str | None = None) -> str:
        """Return the address of the proxy, with another path than the server's if one is given."""
        address = self.server.address.replace(
            f":{self.server.port_number}", f":{self.proxy.port}", 1
        )
        return address if path is None else f"{address.rsplit('/', 1)[0]}/{path}"


@dataclass(eq=False)
class Arena:
    """The servers of one broker, started when they are first needed, and their ends."""

    key: str
    fronts: list[Front] = field(default_factory=list)
    database: Postgresql | None = None

    def front(self, number: int) -> Front:
        """Return the front for the subject with this number."""
        number = number if self.key in ALONE else 0
        while len(self.fronts) <= number:
            server = make(self.key)
            proxy = Proxy(server.port_number)
            if isinstance(server, Kafka):
                announce(server, proxy.port)
            self.fronts.append(Front(server, proxy))
            server.start()
        return self.fronts[number]

    def beside(self) -> Postgresql:
        """Return the database that some services have beside their broker."""
        if self.database is None:
            made = make("postgresql")
            assert isinstance(made, Postgresql)
            self.database = made
            made.start()
        return self.database

    def place(self, subject: Subject, number: int) -> tuple[Front, dict[str, str], str]:
        """Return a front, what the subject finds in its environment, and a name of its own."""
        front, own = self.front(number), f"s{next(_numbers)}"
        variable = front.server.broker.variable
        assert variable
        path = None
        if isinstance(front.server, Rabbitmq):
            front.server.ask(f"vhosts/{own}", "PUT", {})
            rights = {"configure": ".*", "write": ".*", "read": ".*"}
            front.server.ask(f"permissions/{own}/guest", "PUT", rights)
            wait_until(partial(_runs, front.server, own), f"the virtual host {own}")
            path = own
        elif isinstance(front.server, Postgresql):
            create_database(front.server, own)
            path = own
        addresses = {variable: front.address(path)}
        if '"DATABASE_URL"' in whole_code(subject.snippet) and self.key != "postgresql":
            create_database(self.beside(), own)
            addresses["DATABASE_URL"] = f"{self.beside().address.rsplit('/', 1)[0]}/{own}"
        return front, addresses, own

    def reset(self) -> None:
        """Have every server run again; what was in it does not matter, or is gone."""
        for front in self.fronts:
            front.proxy.cut()
            if self.key in ALONE:
                front.server.reset()
                front.proxy.target = front.server.port_number
            elif not front.server.running:
                front.server.start()
            if isinstance(front.server, Rabbitmq):
                for host in front.server.ask("vhosts"):
                    if host["name"] != "/":
                        front.server.ask(f"vhosts/{host['name']}", "DELETE")

    def close(self) -> None:
        for front in self.fronts:
            front.proxy.close()
            front.server.close()
        if self.database:
            self.database.close()


def _runs(server: Rabbitmq, host: str) -> bool:
    states = server.ask(f"vhosts/{host}").get("cluster_state", {})
    return set(states.values()) == {"running"}


def create_database(server: Postgresql, name: str) -> None:
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")


def announce(server: Kafka, port: int) -> None:
    """Have Kafka tell its clients another port than the one it listens on."""
    text = server.configuration.read_text()
    ours = f"advertised.listeners=PLAINTEXT://127.0.0.1:{server.port_number}"
    assert ours in text
    server.configuration.write_text(
        text.replace(ours, f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}")
    )


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


@dataclass(eq=False)
class Life:
    """A subject at its place, and whoever feeds it."""

    subject: Subject
    stage: Stage
    front: Front
    own: str
    function: str


def lives(
    arena: Arena, subjects: list[Subject], folder: Path, closing: ExitStack
) -> Iterator[Life]:
    """Yield each subject's copy at its place."""
    for number, subject in enumerate(subjects):
        front, addresses, own = arena.place(subject, number)
        home = folder / own
        home.mkdir()
        copy = download(subject.snippet, home)
        added, function = driver(subject)
        code = copy.read_text()
        main = code.index("\n\nif __name__")
        if subject.key == "kafka":
            code = renamed(code[:main], own)
            main = len(code)
        copy.write_text(f"{code[:main]}{added}\n")
        stage = Stage(subject.key, copy, front.server, addresses=addresses, seconds=60)
        closing.enter_context(stage)
        yield Life(subject, stage, front, own, function)


def side_by_side(work: Any, over: list[Any]) -> list[Any]:
    """Return what `work` returns for each, all at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(over))) as pool:
        return list(pool.map(work, over))
