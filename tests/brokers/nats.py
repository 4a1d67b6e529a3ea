"""NATS with JetStream as a child process."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import nats

from tests.brokers import debian
from tests.brokers.server import Server
from tests.brokers.versions import printed_by


class Nats(Server):
    """NATS server 2.10 or later, JetStream on, file storage."""

    key = "nats"
    monitor = 8222
    beside = f", with its monitoring at port {monitor}"

    @classmethod
    def on_machine(cls) -> bool:
        found = re.search(r"v(\d[\d.]+)", printed_by("nats-server", "--version"))
        return found is not None and cls.taught(found[1])

    @classmethod
    def in_folder(cls) -> bool:
        return debian.has("nats-server")

    def prepare(self) -> None:
        self.port_number = self.port(4222)
        self.monitor = self.port(8222)
        self.configuration = self.data / "nats.conf"
        self.configuration.write_text(
            f"listen: 127.0.0.1:{self.port_number}\n"
            f"http: 127.0.0.1:{self.monitor}\n"
            f'jetstream {{ store_dir: "{self.data}/jetstream" }}\n'
        )

    def command(self) -> list[str]:
        return self.source.command("nats-server", "-c", str(self.configuration))

    def ready(self) -> bool:
        return '"ok"' in self._monitored("healthz")

    def _monitored(self, page: str, seconds: float = 5) -> str:
        try:
            with urllib.request.urlopen(
                f"http://{self.host}:{self.monitor}/{page}", timeout=seconds
            ) as got:
                text: str = got.read().decode()
                return text
        except OSError:
            return ""

    def own_address(self) -> str:
        return f"nats://127.0.0.1:{self.port_number}"

    def version(self) -> str:
        found = re.search(r'"version": *"([^"]+)"', self._monitored("varz", seconds=30))
        assert found
        return f"NATS {found[1]}"

    def empty(self) -> None:
        if self.given:
            self.delete_streams()
        else:
            self.restart_on_nothing()

    def delete_streams(self) -> None:
        """Delete every stream, with its consumers."""
        asyncio.run(self._delete_streams())

    async def _delete_streams(self) -> None:
        client = await nats.connect(self.address)
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(stream.config.name or "")
        await client.close()
