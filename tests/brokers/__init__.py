"""Real brokers for the tests: found on this machine or in the project's folder, and started."""

from __future__ import annotations

import os

from handbook.brokers import named
from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.brokers.nats import Nats
from tests.brokers.postgresql import Postgresql
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.redis import Redis, Valkey
from tests.brokers.server import ADDRESS, DEBIAN, MACHINE, NotFoundError, NotOursError, Server

__all__ = ["SERVERS", "SUBSTITUTES", "NotFoundError", "NotOursError", "Server", "make"]

SERVERS: dict[str, type[Server]] = {
    server.key: server for server in (Rabbitmq, Kafka, Nats, Redis, Mosquitto, Postgresql)
}
#: Those in the place of another's, with its snippets.
SUBSTITUTES: dict[str, type[Server]] = {server.key: server for server in (Valkey,)}


def make(key: str, *, default_ports: bool = False) -> Server:
    """Return the server called `key`, not started yet; `NotFoundError` says what is missing.

    It is looked for at the address in its environment variable, then among the programs of this
    machine, then in the project's own folder of servers.
    """
    server = (SERVERS | SUBSTITUTES)[key]
    if given := os.environ.get(named(key).variable or ""):
        return server(ADDRESS, given=given)
    if server.on_machine():
        return server(MACHINE, default_ports=default_ports)
    if server.in_folder():
        return server(DEBIAN, default_ports=default_ports)
    raise NotFoundError(
        f"{named(key).label} is neither on this machine, in a version the handbook teaches, nor "
        "in the project's folder of servers: run `make servers`"
    )
