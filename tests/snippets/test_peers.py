"""Independent programs see what a snippet sent: it speaks the protocol, not a dialect of its own.

There is none for NATS here: Debian has no command-line client of it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis
from tests.patterns.stage import Stage

TASKS = ["transcode cat.mp4", "transcode dog.mp4"]


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    """The broker's work-queue snippet, as it is."""
    with Stage.of("patterns/work_queue", server.key, server, tmp_path) as stage:
        yield stage


def ask(server: Server, program: str, *arguments: str) -> list[str]:
    """Run a command-line client beside the server; return the lines it printed."""
    done = subprocess.run(
        server.source.command(program, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def submitted(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS)


@pytest.mark.broker(Rabbitmq.key)
def test_amqp_get(stage: Stage, server: Rabbitmq) -> None:
    submitted(stage)
    command = ("amqp-get", f"--url={server.address}%2f", "--queue=transcode")
    assert [ask(server, *command), ask(server, *command)] == [[TASKS[0]], [TASKS[1]]]


@pytest.mark.broker(Kafka.key)
def test_kcat(stage: Stage, server: Kafka) -> None:
    submitted(stage)
    received = ask(server, "kcat", "-b", server.address, "-t", "transcode", "-C", "-e", "-q")
    assert sorted(received) == TASKS


@pytest.mark.broker(Redis.key)
def test_redis_cli(stage: Stage, server: Redis) -> None:
    submitted(stage)
    received = ask(server, "redis-cli", "-u", server.address, "XRANGE", "transcode", "-", "+")
    assert [line for line in received if line in TASKS] == TASKS


@pytest.mark.broker(Postgresql.key)
def test_psql(stage: Stage, server: Postgresql) -> None:
    submitted(stage)
    received = ask(server, "psql", server.address, "-At", "-c", "SELECT body FROM task ORDER BY id")
    assert received == TASKS


@pytest.mark.broker(Mosquitto.key)
def test_mosquitto_sub(stage: Stage, server: Mosquitto) -> None:
    session = ("-V", "5", "-p", str(server.port_number), "-i", "peer", "-c", "-x", "3600")
    subscription = (*session, "-q", "1", "-t", "transcode")
    assert ask(server, "mosquitto_sub", *subscription, "-E") == []  # subscribes and leaves
    submitted(stage)
    assert ask(server, "mosquitto_sub", *subscription, "-C", "2") == TASKS
