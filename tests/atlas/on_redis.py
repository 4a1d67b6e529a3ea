"""Redis: whether a file is written and synced, and whether the producer asks for replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, ResponseError

from tests.atlas.asked import QUEUE, Asked, Setting
from tests.atlas.load import UselessError
from tests.brokers.cluster.machines import NUMBERS, Machine
from tests.brokers.cluster.redis import RedisCluster, client, primary_for

#: How long `WAIT` and `WAITAOF` wait, in milliseconds.
WAIT = 3000
FILE = "appendonly yes"
#: What the servers are configured with, by a setting's key.
OPTIONS = {
    "snapshots": (),
    "plain": (FILE,),
    "always": (FILE, "appendfsync always"),
    "min-replicas": (FILE, "min-replicas-to-write 1", "min-replicas-max-lag 2"),
    "wait": (FILE,),
    "waitaof": (FILE,),
}


class ReplicasError(Exception):
    """The primary has the message, and too few others have it: nothing is taken back."""


class RedisConnection:
    """A producer's connections to one primary: one for each call that waits."""

    def __init__(self, server: Redis, setting: str) -> None:
        self._server, self._setting = server, setting

    async def publish(self, message: int) -> None:
        # WAIT counts for the writes of its own connection, so they go as one.
        async with self._server.pipeline(transaction=False) as pipe:
            pipe.xadd(QUEUE, {"message": message})
            if self._setting == "wait":
                pipe.execute_command("WAIT", 1, WAIT)
            elif self._setting == "waitaof":
                pipe.execute_command("WAITAOF", 1, 1, WAIT)
            try:
                _, *waited = await pipe.execute()
            except ReadOnlyError:
                raise UselessError("READONLY") from None
            except ResponseError as error:
                if "NOREPLICAS" in str(error):
                    raise UselessError("NOREPLICAS") from None
                raise
        # WAIT answers with a number of replicas, WAITAOF with the primary's and the replicas'.
        for answer in waited:
            if 0 in (answer if isinstance(answer, list) else [answer]):
                raise ReplicasError(f"only {answer} have it")

    async def close(self) -> None:
        await self._server.aclose()


class AskedRedis(Asked):
    """Redis: a stream, and Sentinels that a producer asks for the primary when it connects."""

    key = "redis"
    client = "redis"
    settings = (
        Setting("snapshots", "`appendonly no`", default=True),
        Setting("plain", "`appendonly yes`, `appendfsync everysec`"),
        Setting("always", "`appendonly yes`, `appendfsync always`"),
        Setting(
            "min-replicas",
            "`appendonly yes`, `min-replicas-to-write 1`, `min-replicas-max-lag 2`",
        ),
        Setting("wait", "`appendonly yes`, `WAIT 1` after each message"),
        Setting("waitaof", "`appendonly yes`, `WAITAOF 1 1` after each message", safe=True),
    )
    by_hand: ClassVar = {
        "node-replaced": "The operator names the primary to the empty server and to its Sentinel,"
        " and sends `SENTINEL RESET` to the other Sentinels, which would go on counting the lost"
        " one.",
    }

    def make(self, machines: Mapping[int, Machine]) -> RedisCluster:
        return RedisCluster(machines, *OPTIONS[self.setting])

    async def declare(self) -> None:
        async with client(await self.cluster.leader(QUEUE), seconds=None) as server:
            await server.xgroup_create(QUEUE, "workers", "$", mkstream=True)
            await server.wait(len(NUMBERS) - 1, 0)

    async def connect(self, number: int) -> RedisConnection:
        server = client(await primary_for(number), seconds=None)
        try:
            await server.ping()
        except BaseException:
            await server.aclose()
            raise
        return RedisConnection(server, self.setting)

    async def read(self) -> list[int]:
        async with client(await self.cluster.leader(QUEUE), seconds=60) as server:
            entries: Any = await server.xrange(QUEUE)
            return [int(fields[b"message"]) for _, fields in entries]
