"""Redis as a child process, with its append-only file on, as a queue of tasks needs it."""

from __future__ import annotations

import re
import socket

from tests.brokers import debian
from tests.brokers.server import Server, answers
from tests.brokers.versions import printed_by


class Redis(Server):
    """Redis 8 or later."""

    key = "redis"
    name = "Redis"

    @classmethod
    def on_machine(cls) -> bool:
        found = re.search(r"v=([\d.]+)", printed_by(cls._program(), "--version"))
        return found is not None and cls.taught(found[1])

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has(cls._program())

    @classmethod
    def _program(cls) -> str:
        return f"{cls.name.lower()}-server"

    def prepare(self) -> None:
        self.port_number = self.port(6379)

    def command(self) -> list[str]:
        return self.source.command(
            self._program(),
            *("--bind", "127.0.0.1", "--port", str(self.port_number)),
            *("--dir", str(self.data), "--save", "", "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "everysec"),
        )

    def ready(self) -> bool:
        return answers(self.host, self.port_number, b"PING\r\n", b"+PONG")

    def own_address(self) -> str:
        return f"redis://127.0.0.1:{self.port_number}/0"

    def _ask(self, command: str) -> str:
        with socket.create_connection((self.host, self.port_number), timeout=30) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65536).decode()

    def version(self) -> str:
        found = re.search(rf"{self.name.lower()}_version:(\S+)", self._ask("INFO server"))
        assert found
        return f"{self.name} {found[1]}"

    def stop_storing(self) -> None:
        assert self._ask("CONFIG SET appendonly no").startswith("+OK")

    def empty(self) -> None:
        assert self._ask("FLUSHALL SYNC").startswith("+OK")


class Valkey(Redis):
    """Valkey, made of Redis 7.2, which Redis's snippets run on as well."""

    key = "valkey"
    name = "Valkey"
