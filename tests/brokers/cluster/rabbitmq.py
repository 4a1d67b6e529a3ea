"""RabbitMQ: three nodes that find each other by their list of names, each with its own epmd."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import quote

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, Machine, address

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
        for number, machine in self.machines.items():
            data = machine.data
            self._configure(machine)
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

    @staticmethod
    def _configure(machine: Machine) -> None:
        peers = "".join(
            f"cluster_formation.classic_config.nodes.{n} = rabbit@n{n}\n" for n in NUMBERS
        )
        (machine.data / "rabbitmq.conf").write_text(CONFIGURATION + peers)
        (machine.data / "plugins").write_text("[rabbitmq_management].\n")
        cookie = machine.data / ".erlang.cookie"
        cookie.write_text("THE-SAME-ON-ALL-THREE")
        cookie.chmod(0o400)

    async def replace(self, number: int) -> None:
        """Have the others forget the lost node, and give the new one a member of each queue."""
        machine = self.machines[number]
        other = next(n for n in NUMBERS if n != number)

        async def tell(tool: str, *words: str) -> None:
            command = tool, "-q", "-n", f"rabbit@n{other}", *words
            run = partial(self.machines[other].run, *command, RABBITMQ_CONF_ENV_FILE="/dev/null")
            await asyncio.to_thread(run)

        await tell("rabbitmqctl", "forget_cluster_node", f"rabbit@n{number}")
        self._configure(machine)
        machine.start()
        await until(_all_running, "RabbitMQ's three nodes to see each other")
        await tell("rabbitmq-queues", "grow", f"rabbit@n{number}", "all")

    async def whole(self) -> None:
        async def ready() -> bool:
            if not await _all_running():
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


async def _all_running() -> bool:
    """Tell whether each node sees all three of them run."""
    for number in NUMBERS:
        seen = await asyncio.to_thread(ask, number, "nodes")
        if sum(one["running"] for one in seen) < len(NUMBERS):
            return False
    return True


def _in_step(queue: dict[str, Any]) -> bool:
    """Tell whether a queue runs, and has all of its members if it has several."""
    if queue.get("type") == "quorum":
        return len(queue.get("online", ())) == len(NUMBERS)
    return queue.get("state") == "running"
