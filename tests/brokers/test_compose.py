"""compose.yaml starts for readers the newest servers that the tests can run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from handbook.brokers import named
from tests.brokers import SERVERS, Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis
from tests.brokers.server import wait_until

IMAGE = re.compile(r"^  (\w+):\n(?: {4}#.*\n)*    image: \S+:([\d.]+)", re.MULTILINE)

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]


def test_the_images_are_of_the_newest_generation() -> None:
    images = dict(IMAGE.findall(COMPOSE.read_text()))
    assert set(images) == set(SERVERS)
    for key, version in images.items():
        newest = named(key).newest
        assert version.startswith(".".join(map(str, newest))), f"{key}: not of {newest}"


class Renamed(Rabbitmq):
    """RabbitMQ whose node gets another name each time, as a container without a host name."""

    def environment(self) -> dict[str, str]:
        name = f"made{self.starts}@localhost"
        return {**super().environment(), "RABBITMQ_NODENAME": name}


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_keeps_its_name_or_finds_none_of_its_queues(server: Server) -> None:
    with server.another(Renamed) as renamed:
        for again in (renamed, server):
            assert isinstance(again, Rabbitmq)
            again.ask("queues/%2F/kept", "PUT", {"durable": True})
            again.stop()
            again.start()
        assert not renamed.ask("queues")
        assert isinstance(server, Rabbitmq)
        assert [queue["name"] for queue in server.ask("queues")] == ["kept"]
    assert SERVICES["rabbitmq"]["hostname"]


class Saving(Redis):
    """Redis with snapshots beside its append-only file, and no right to write them."""

    def command(self) -> list[str]:
        (self.data / "snapshots").mkdir(exist_ok=True)
        given = super().command()
        at = given.index("--save") + 1
        return [*given[:at], "1 1", *given[at + 1 :], "--dbfilename", "snapshots"]


@pytest.mark.broker("redis")
def test_redis_writes_no_snapshot_or_one_that_fails_stops_all_writes(server: Server) -> None:
    with server.another(Saving) as saving:
        assert isinstance(saving, Redis)
        assert saving._ask("SET video cat").startswith("+OK")
        wait_until(lambda: "MISCONF" in saving._ask("SET video dog"), "a snapshot that fails")
    command = SERVICES["redis"]["command"]
    assert command[command.index("--save") + 1] == ""
