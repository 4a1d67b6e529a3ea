"""What safety costs on NATS: when JetStream syncs, where it stores, and core NATS without it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import nats
from nats.js.api import StorageType

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
from tests.brokers.nats import Nats


def sync_always(server: Server) -> None:
    """Have JetStream fsync each message before it answers, not every 2 minutes."""
    assert isinstance(server, Nats)
    text = server.configuration.read_text()
    changed = text.replace("jetstream {", "jetstream { sync_interval: always,")
    assert changed != text
    server.configuration.write_text(changed)


@asynccontextmanager
async def stream(storage: StorageType, server: Server, name: str, _lanes: int) -> Publishers:
    """Publish to a stream; the confirm comes from JetStream."""
    async with await nats.connect(server.address) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(name=name, subjects=[name], storage=storage)

        async def confirmed(_: int) -> None:
            await jetstream.publish(name, BODY)

        async def unconfirmed() -> None:
            await connection.publish(name, BODY)

        async def arrived() -> None:
            # A stream takes in what comes one after the other, so this one's confirm is the last.
            await jetstream.publish(name, BODY, timeout=60)

        async def stored() -> int:
            return (await jetstream.stream_info(name)).state.messages

        yield Publisher(stored, confirmed, unconfirmed=unconfirmed, arrived=arrived)
        await jetstream.delete_stream(name)


@asynccontextmanager
async def core(server: Server, name: str, _lanes: int) -> Publishers:
    """Publish to a subject that no stream keeps, and to which nobody listens."""
    async with await nats.connect(server.address) as connection:

        async def unconfirmed() -> None:
            await connection.publish(name, BODY)

        async def stored() -> int:
            return 0

        yield Publisher(stored, unconfirmed=unconfirmed, arrived=connection.flush)


file = partial(stream, StorageType.FILE)
memory = partial(stream, StorageType.MEMORY)

ALWAYS = "file, sync_interval always: fsynced"
FILE = "file, sync_interval 2m: written"
MEMORY = "memory storage: in memory"
CORE = "core NATS: kept nowhere"

BENCHMARK = Benchmark(
    "nats",
    [
        Setting(ALWAYS, ONE_BY_ONE, 300, file, "always"),
        Setting(ALWAYS, BATCHES, 600, file, "always"),
        Setting(ALWAYS, IN_FLIGHT, 600, file, "always"),
        Setting(ALWAYS, NO_CONFIRM, 600, file, "always", certain=False),
        Setting(FILE, ONE_BY_ONE, 300, file),
        Setting(FILE, IN_FLIGHT, 1500, file),
        Setting(MEMORY, ONE_BY_ONE, 300, memory),
        Setting(MEMORY, IN_FLIGHT, 1500, memory),
        Setting(CORE, NO_CONFIRM, 5000, core, certain=False),
    ],
    {"usual": lambda _: None, "always": sync_always},
)
