"""RabbitMQ: three nodes that find each other by their list of names, each with its own epmd."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from typing import Any
from urllib.parse import quote

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, address

CONFIGURATION = """\
listeners.tcp.1 = 0.0.0.0:5672
management.tcp.ip = 0.0.0.0
management.tcp.port = 15672
loopback_users = none
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 64MB
cluster_formation.peer_discovery_backend = classic_config
"""


def ask(number: int, path: str) -> Any:
    """Return what a node's management API answers."""
    request = urllib.request.Request(f"http://{address(number)}:15672/api/{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


class RabbitmqCluster(Cluster):
    """Three nodes, the guest account, and the management API on each."""

    key = "rabbitmq"

    async def start(self) -> None:
        peers = "".join(
            f"cluster_formation.classic_config.nodes.{n} = rabbit@n{n}\n" for n in NUMBERS
        )
        for number, machine in self.machines.items():
            data = machine.data
            (data / "rabbitmq.conf").write_text(CONFIGURATION + peers)
            (data / "plugins").write_text("[rabbitmq_management].\n")
            cookie = data / ".erlang.cookie"
            cookie.write_text("THE-SAME-ON-ALL-THREE")
            cookie.chmod(0o400)
            machine.add(
                "rabbitmq",
                "rabbitmq-server",
                RABBITMQ_CONF_ENV_FILE="/dev/null",
                RABBITMQ_NODENAME=f"rabbit@n{number}",
                RABBITMQ_MNESIA_BASE=f"{data}/mnesia",
                RABBITMQ_LOG_BASE=f"{data}/log",
                RABBITMQ_SCHEMA_DIR=f"{data}/schema",
                RABBITMQ_CONFIG_FILE=f"{data}/rabbitmq.conf",
                RABBITMQ_ADVANCED_CONFIG_FILE=f"{data}/none.config",
                RABBITMQ_ENABLED_PLUGINS_FILE=f"{data}/plugins",
                RABBITMQ_PID_FILE=f"{data}/pid",
                RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none",
            )
            machine.start()
        await self.whole()

    async def whole(self) -> None:
        async def ready() -> bool:
            for number in NUMBERS:
                seen = await asyncio.to_thread(ask, number, "nodes")
                if sum(one["running"] for one in seen) < len(NUMBERS):
                    return False
            queues = await asyncio.to_thread(ask, NUMBERS[0], "queues")
            return all(_in_step(queue) for queue in queues)

        await until(ready, "RabbitMQ's three nodes to see each other, with all of their queues")

    async def leader(self, queue: str) -> int:
        async def found() -> int | None:
            said = await asyncio.to_thread(ask, NUMBERS[0], f"queues/%2F/{quote(queue)}")
            # The management hears of a queue's members seconds after its declaration.
            if not _in_step(said):
                return None
            return int((said.get("leader") or said["node"]).removeprefix("rabbit@n"))

        leader = await until(found, f"RabbitMQ to have a leader of {queue}")
        assert leader is not None
        return leader

    async def version(self) -> str:
        said = await asyncio.to_thread(ask, NUMBERS[0], "overview")
        return f"RabbitMQ {said['rabbitmq_version']}"


def _in_step(queue: dict[str, Any]) -> bool:
    """Tell whether a queue runs, and has all of its members if it has several."""
    if queue.get("type") == "quorum":
        return len(queue.get("online", ())) == len(NUMBERS)
    return queue.get("state") == "running"
