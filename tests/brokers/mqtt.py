"""Mosquitto as a child process, with persistence on and its other settings at their defaults."""

from __future__ import annotations

import re

from tests.brokers import debian
from tests.brokers.server import Server, answers
from tests.brokers.versions import printed_by

CONNECT = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x03ask"


class Mosquitto(Server):
    """Mosquitto 2.0.20 or later, which speaks MQTT 5."""

    key = "mqtt"

    @classmethod
    def _printed_version(cls, text: str) -> str:
        found = re.findall(r"version ([\d.]+)", text)
        return found[-1] if found else ""  # a log has that of each start

    @classmethod
    def on_machine(cls) -> bool:
        return cls.taught(cls._printed_version(printed_by("mosquitto", "-h")))

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has("mosquitto")

    def prepare(self) -> None:
        self.port_number = self.port(1883)
        self.configuration = self.data / "mosquitto.conf"
        self.configuration.write_text(
            f"listener {self.port_number} 127.0.0.1\n"
            "allow_anonymous true\n"
            "persistence true\n"
            f"persistence_location {self.data}/\n"
            "log_dest stdout\n"
        )

    def command(self) -> list[str]:
        return self.source.command("mosquitto", "-c", str(self.configuration))

    def ready(self) -> bool:
        return answers(self.host, self.port_number, CONNECT, b"\x20")

    def own_address(self) -> str:
        return f"mqtt://127.0.0.1:{self.port_number}"

    def version(self) -> str:
        if self.given:
            return "Mosquitto"
        return f"Mosquitto {self._printed_version(self.log.read_text())}"

    def empty(self) -> None:
        self.restart_on_nothing()
