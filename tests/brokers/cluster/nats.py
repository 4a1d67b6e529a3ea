"""NATS with JetStream: three servers, each with a route to the others."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, Machine, address


def ask(number: int, page: str) -> Any:
    """Return a page of a server's monitoring."""
    with urllib.request.urlopen(f"http://{address(number)}:8222/{page}", timeout=2) as got:
        return json.load(got)


class NatsCluster(Cluster):
    """`sync_interval` is how often a server brings its files to the disk."""

    key = "nats"

    def __init__(self, machines: Mapping[int, Machine], *, sync_interval: str = "2m") -> None:
        super().__init__(machines)
        self.sync_interval = sync_interval

    async def start(self) -> None:
        for machine in self.machines.values():
            machine.add("nats", "nats-server", "-c", str(self._configure(machine)))
            machine.start()
        await self.whole()

    def _configure(self, machine: Machine) -> Path:
        routes = ", ".join(f"nats://{address(n)}:6222" for n in NUMBERS)
        configuration = machine.data / "nats.conf"
        configuration.write_text(
            f"server_name: n{machine.number}\n"
            "listen: 0.0.0.0:4222\n"
            "http: 0.0.0.0:8222\n"
            f'jetstream {{ store_dir: "{machine.data}/jetstream", '
            f"sync_interval: {self.sync_interval} }}\n"
            f"cluster {{ name: lab, listen: 0.0.0.0:6222, routes: [{routes}] }}\n"
        )
        return configuration

    async def replace(self, number: int) -> None:
        """Start it: the others give a server of the same name all that it has to have."""
        machine = self.machines[number]
        self._configure(machine)
        machine.start()

    async def whole(self) -> None:
        # A server's health is "ok" before there is a leader that could make a stream.
        async def ready() -> bool:
            pages = [await asyncio.to_thread(ask, n, "healthz") for n in NUMBERS]
            meta = (await asyncio.to_thread(ask, NUMBERS[0], "jsz"))["meta_cluster"]
            healthy = all(page["status"] == "ok" for page in pages)
            return healthy and bool(meta.get("leader")) and meta["cluster_size"] == len(NUMBERS)

        await until(ready, "NATS to have three healthy servers and a leader of its metadata")

    async def leader(self, queue: str) -> int:
        async def found() -> int | None:
            for number in NUMBERS:
                page = await asyncio.to_thread(ask, number, "jsz?streams=true")
                for account in page.get("account_details", ()):
                    for stream in account.get("stream_detail", ()):
                        if stream["name"] == queue:
                            leader = stream.get("cluster", {}).get("leader") or f"n{number}"
                            return int(leader.removeprefix("n"))
            return None

        leader = await until(found, f"NATS to have a leader of {queue}")
        assert leader is not None
        return leader

    async def version(self) -> str:
        return f"NATS {(await asyncio.to_thread(ask, NUMBERS[0], 'varz'))['version']}"
