"""Servers with a few settings, for `server.another()`: the rest is as their makers have it."""

from __future__ import annotations

from pathlib import Path

from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis


def _append(file: Path, text: str) -> None:
    with file.open("a") as settings:
        settings.write(text)


def rabbitmq(*lines: str) -> type[Rabbitmq]:
    """Return a RabbitMQ with these lines in rabbitmq.conf, the last of a name being in force."""

    class Configured(Rabbitmq):
        def prepare(self) -> None:
            super().prepare()
            _append(self.data / "rabbitmq.conf", "".join(f"{line}\n" for line in lines))

    return Configured


def kafka(*lines: str, heap: str = "512m") -> type[Kafka]:
    """Return a Kafka with these lines in server.properties."""

    class Configured(Kafka):
        def _format(self) -> None:
            super()._format()
            _append(self.configuration, "".join(f"{line}\n" for line in lines))

        def command(self) -> list[str]:
            return [f"-Xmx{heap}" if word == "-Xmx512m" else word for word in super().command()]

    return Configured


def nats(*lines: str, jetstream: str = "") -> type[Nats]:
    """Return a NATS with these lines in its configuration, and these in the part on JetStream."""

    class Configured(Nats):
        def prepare(self) -> None:
            super().prepare()
            text = self.configuration.read_text().replace(
                "jetstream {", f"jetstream {{ {jetstream}"
            )
            self.configuration.write_text(text + "".join(f"{line}\n" for line in lines))

    return Configured


def redis(*words: str) -> type[Redis]:
    """Return a Redis without a setting but these: without an append-only file, for example."""

    class Configured(Redis):
        def command(self) -> list[str]:
            return self.source.command(
                "redis-server",
                *("--bind", "127.0.0.1", "--port", str(self.port_number)),
                *("--dir", str(self.data), *words),
            )

    return Configured


def mosquitto(*lines: str) -> type[Mosquitto]:
    """Return a Mosquitto that has a listener and these lines, and keeps nothing else by default."""

    class Configured(Mosquitto):
        def prepare(self) -> None:
            super().prepare()
            self.configuration.write_text(
                f"listener {self.port_number} 127.0.0.1\nallow_anonymous true\nlog_dest stdout\n"
                + "".join(f"{line.format(data=self.data)}\n" for line in lines)
            )

    return Configured


def postgresql(*settings: str) -> type[Postgresql]:
    """Return a PostgreSQL with these settings, each as `name=value`."""

    class Configured(Postgresql):
        def command(self) -> list[str]:
            return [*super().command(), *(word for one in settings for word in ("-c", one))]

    return Configured
