"""Credentials in an address are percent-encoded there, and decoded before a broker gets them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from handbook.brokers import named
from tests.brokers import NotFoundError, Server, make
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis
from tests.brokers.server import answers
from tests.conftest import REQUIRED
from tests.snippets.running import (
    SNIPPETS,
    all_snippets,
    broker_key,
    name,
    run_with_python,
    whole_code,
)

USER, PASSWORD = "up@loader", "p@ss/w:rd#100%"
CODED = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
#: Kafka's list of servers has no place for credentials.
KEYS = ["rabbitmq", "nats", "redis", "mqtt", "postgresql"]
WINDOW = SNIPPETS / "best_practices" / "service_window"

each = pytest.mark.parametrize(
    "key", [pytest.param(key, id=key, marks=pytest.mark.broker(key)) for key in KEYS]
)


class LockedMosquitto(Mosquitto):
    """Mosquitto that knows one user, and lets in nobody else."""

    def prepare(self) -> None:
        super().prepare()
        known = self.data / "passwords"
        # By arguments: in a file, a password ends at its first colon.
        command = self.source.command("mosquitto_passwd", "-b", "-c", str(known), USER, PASSWORD)
        subprocess.run(command, check=True, capture_output=True)
        self.configuration.write_text(
            self.configuration.read_text().replace(
                "allow_anonymous true", f"allow_anonymous false\npassword_file {known}"
            )
        )

    def ready(self) -> bool:
        return answers(self.host, self.port_number)


class LockedNats(Nats):
    """NATS that knows one user, and lets in nobody else."""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(f'authorization {{ user: "{USER}", password: "{PASSWORD}" }}\n')


class LockedRedis(Redis):
    """Redis whose user without a name is off."""

    def start(self) -> None:
        super().start()
        # By protocol: the password has characters that a line does not bear.
        words = ["ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
        said = self._ask(
            f"*{len(words)}\r\n" + "\r\n".join(f"${len(one)}\r\n{one}" for one in words)
        )
        assert said.startswith("+OK"), said
        assert self._ask("ACL SETUSER default off").startswith("+OK")


class LockedRabbitmq(Rabbitmq):
    """RabbitMQ with one more user."""

    def start(self) -> None:
        super().start()
        coded = quote(USER, safe="")
        self.ask(f"users/{coded}", "PUT", {"password": PASSWORD, "tags": ""})
        every = {"configure": ".*", "write": ".*", "read": ".*"}
        self.ask(f"permissions/%2F/{coded}", "PUT", every)


class LockedPostgresql(Postgresql):
    """PostgreSQL that asks for a password."""

    def start(self) -> None:
        super().start()
        with psycopg.connect(self.address, autocommit=True) as db:
            make_user = SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
            db.execute(make_user.format(Identifier(USER), Literal(PASSWORD)))
            rules = "host all all 127.0.0.1/32 scram-sha-256\n"
            (self.database / "pg_hba.conf").write_text(rules)
            db.execute("SELECT pg_reload_conf()")


KINDS: dict[str, type[Server]] = {
    "rabbitmq": LockedRabbitmq,
    "nats": LockedNats,
    "redis": LockedRedis,
    "mqtt": LockedMosquitto,
    "postgresql": LockedPostgresql,
}


@pytest.fixture
def locked(key: str) -> Iterator[str]:
    """The address, with encoded credentials, of a server that asks for them."""
    try:
        found = make(key)
    except NotFoundError as error:
        if REQUIRED:
            raise
        pytest.skip(str(error))
    found.close()
    if found.given:
        pytest.skip(f"{key} was given by its address: its accounts are not ours")
    with found.another(KINDS[key]) as server:
        scheme, _, rest = server.address.partition("://")
        yield f"{scheme}://{CODED}@{rest.rpartition('@')[2]}"


@each
def test_a_user_with_an_encoded_password_logs_in(key: str, locked: str, tmp_path: Path) -> None:
    snippet = WINDOW / f"on_{key}.py"
    environment = {named(key).variable or "": locked}
    assert (
        run_with_python(snippet, tmp_path, environment) == snippet.with_suffix(".out").read_text()
    )
    wrong = {name: locked.replace("100%25", "100") for name in environment}
    with pytest.raises(RuntimeError, match=f"make brokers ONLY={key}") as refused:
        run_with_python(snippet, tmp_path, wrong)
    assert "Traceback" not in str(refused.value)


@pytest.mark.broker("redis")
@pytest.mark.parametrize("key", ["redis"])
def test_an_accounts_rights_are_its_own_although_the_address_has_a_login(
    key: str, locked: str, tmp_path: Path
) -> None:
    """redis-py takes the login of an address rather than the one that it is given beside it."""
    snippet = SNIPPETS / "best_practices" / "least_privilege" / f"on_{key}.py"
    environment = {named(key).variable or "": locked}
    assert (
        run_with_python(snippet, tmp_path, environment) == snippet.with_suffix(".out").read_text()
    )


@pytest.mark.parametrize(
    "snippet",
    [
        path
        for path in all_snippets()
        if broker_key(path) in ("mqtt", "nats") and "dependencies = []" not in path.read_text()
    ],
    ids=name,
)
def test_where_the_client_does_not_decode_the_snippet_does(snippet: Path) -> None:
    assert "unquote(" in whole_code(snippet)
