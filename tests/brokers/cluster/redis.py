"""Redis: a primary and two replicas, and on each machine a Sentinel that watches all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, Machine, address

NAME = "lab"
SERVER, SENTINEL = 6379, 26379
CONFIGURATION = """\
bind 0.0.0.0
protected-mode no
dir {data}
repl-diskless-sync-delay 0
"""
#: The time limits are shorter than Sentinel's own of 30 s and 3 min.
WATCH = f"""\
port {SENTINEL}
bind 0.0.0.0
protected-mode no
dir {{data}}
sentinel monitor {NAME} {{primary}} {SERVER} 2
sentinel down-after-milliseconds {NAME} 3000
sentinel failover-timeout {NAME} 10000
"""


def client(number: int, port: int = SERVER, seconds: float | None = 2) -> Redis:
    """Return a client of one server, which repeats nothing by itself."""
    return Redis(
        host=address(number),
        port=port,
        socket_timeout=seconds,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 0),
    )


async def primary_for(number: int) -> int:
    """Return the number of the machine that the Sentinel on this machine names the primary."""
    return int((await _watched(number))["ip"].split(".")[2])


async def _watched(number: int) -> dict[str, Any]:
    """Return what a Sentinel knows."""
    async with client(number, SENTINEL) as sentinel:
        known: Any = await sentinel.sentinel_master(NAME)
        return dict(known)


class RedisCluster(Cluster):
    """`options` are lines of the servers' configuration."""

    key = "redis"

    def __init__(self, machines: Mapping[int, Machine], *options: str) -> None:
        super().__init__(machines)
        self.options = options

    async def start(self) -> None:
        first = NUMBERS[0]
        for machine in self.machines.values():
            self._configure(machine, first)
            machine.add("redis", "redis-server", str(machine.data / "redis.conf"))
            machine.start()
        await until(lambda: _followed(first), "Redis's primary to have two replicas")
        # A Sentinel that starts earlier may take one that is not up yet for dead.
        for machine in self.machines.values():
            file = machine.data / "sentinel.conf"
            machine.add("sentinel", "redis-server", str(file), "--sentinel").start()
        await self.whole()

    def _configure(self, machine: Machine, primary: int) -> None:
        """Write files, for Sentinel writes into both who is the primary."""
        replica = [f"replicaof {address(primary)} {SERVER}"] if machine.number != primary else []
        lines = "\n".join([*self.options, *replica])
        server, sentinel = machine.data / "redis.conf", machine.data / "sentinel.conf"
        server.write_text(CONFIGURATION.format(data=machine.data) + lines + "\n")
        sentinel.write_text(WATCH.format(data=machine.data, primary=address(primary)))

    async def replace(self, number: int) -> None:
        """Name the primary to the new server and its Sentinel; have the others forget the old."""
        others = [other for other in NUMBERS if other != number]
        self._configure(self.machines[number], await primary_for(others[0]))
        self.machines[number].start()
        # They would count the lost Sentinel when they look for a majority.
        for other in others:
            async with client(other, SENTINEL) as sentinel:
                await sentinel.sentinel_reset(NAME)

    async def whole(self) -> None:
        others = len(NUMBERS) - 1

        async def ready() -> bool:
            known = [await _watched(number) for number in NUMBERS]
            agreed = len({each["ip"] for each in known}) == 1
            # A Sentinel that has not found all the others can't count on them.
            found = all(
                int(each[what]) >= others
                for each in known
                for what in ("num-slaves", "num-other-sentinels")
            )
            return agreed and found and await _followed(await primary_for(NUMBERS[0]))

        await until(ready, "Redis's Sentinels to agree, and its replicas to follow the primary")

    async def leader(self, queue: str) -> int:  # noqa: ARG002 - one primary has all
        return await until(lambda: primary_for(NUMBERS[0]), "Sentinel to name a primary")

    async def version(self) -> str:
        async with client(NUMBERS[0]) as server:
            return f"Redis {(await server.info('server'))['redis_version']}"


async def _followed(number: int) -> bool:
    """Tell whether a server is the primary of all others."""
    async with client(number) as server:
        seen = await server.info("replication")
    online = [key for key in seen if key.startswith("slave") and "online" in str(seen[key])]
    return seen["role"] == "master" and len(online) == len(NUMBERS) - 1
