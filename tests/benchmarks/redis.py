"""What safety costs on Redis: appendfsync, WAITAOF, and how many XADD wait at a time."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from redis.asyncio import Connection, Redis

from tests.benchmarks.measure import (
    BATCHES,
    BODY,
    IN_FLIGHT,
    NO_CONFIRM,
    ONE_BY_ONE,
    Benchmark,
    Publisher,
    Publishers,
    Setting,
)
from tests.brokers import Server


@asynccontextmanager
async def stream(
    appendfsync: str, server: Server, name: str, lanes: int, *, waitaof: bool = False
) -> Publishers:
    """Add to a stream; with `waitaof`, ask after each batch whether it is on the disk."""
    async with AsyncExitStack() as stack:
        # A connection answers in order, so each lane has its own.
        clients = [
            await stack.enter_async_context(Redis.from_url(server.address, retry=None))
            for _ in range(lanes)
        ]
        for client in clients:
            await client.ping()
        redis = clients[0]
        await redis.config_set("appendfsync", appendfsync)

        async def batch(size: int) -> None:
            requests = redis.pipeline(transaction=False)
            for _ in range(size):
                requests.xadd(name, {"body": BODY})
            if waitaof:
                requests.waitaof(1, 0, timeout=4_000)
            answers = await requests.execute()
            assert not waitaof or answers[-1][0] == 1

        async def confirmed(lane: int) -> None:
            if waitaof:
                await batch(1)
            else:
                await clients[lane].xadd(name, {"body": BODY})

        async def stored() -> int:
            return int(await redis.xlen(name))

        yield Publisher(stored, confirmed, batch)
        await redis.delete(name)


@asynccontextmanager
async def silent(appendfsync: str, server: Server, name: str, _lanes: int) -> Publishers:
    """Add to a stream on a connection to which Redis does not answer."""
    async with Redis.from_url(server.address, retry=None) as redis:
        await redis.config_set("appendfsync", appendfsync)
        connection = Connection(host=server.host, port=urlsplit(server.address).port or 0)

        async def unconfirmed() -> None:
            await connection.send_command("XADD", name, "*", "body", BODY)

        async def arrived() -> None:
            await connection.send_command("CLIENT", "REPLY", "ON")
            await connection.read_response()
            await connection.send_command("CLIENT", "REPLY", "OFF")

        async def stored() -> int:
            return int(await redis.xlen(name))

        await connection.send_command("CLIENT", "REPLY", "OFF")
        yield Publisher(stored, unconfirmed=unconfirmed, arrived=arrived)
        await connection.disconnect()
        await redis.delete(name)


always = partial(stream, "always")
everysec = partial(stream, "everysec")
never = partial(stream, "no")
waited = partial(stream, "everysec", waitaof=True)

ALWAYS = "appendfsync always: fsynced"
WAITED = "appendfsync everysec, WAITAOF: fsynced"
EVERYSEC = "appendfsync everysec: written"
NEVER = "appendfsync no: written"

BENCHMARK = Benchmark(
    "redis",
    [
        Setting(ALWAYS, ONE_BY_ONE, 300, always),
        Setting(ALWAYS, BATCHES, 3000, always),
        Setting(ALWAYS, IN_FLIGHT, 1500, always),
        Setting(ALWAYS, NO_CONFIRM, 3000, partial(silent, "always"), certain=False),
        Setting(WAITED, ONE_BY_ONE, 2, waited),
        Setting(WAITED, BATCHES, 100, waited),
        Setting(EVERYSEC, ONE_BY_ONE, 300, everysec),
        Setting(EVERYSEC, BATCHES, 3000, everysec),
        Setting(NEVER, ONE_BY_ONE, 300, never),
        Setting(NEVER, BATCHES, 3000, never),
    ],
)
