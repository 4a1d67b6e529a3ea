"""What safety costs on RabbitMQ: the type of queue, the persistence, and who waits for confirms."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aio_pika import DeliveryMode, Message, connect

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
async def queue_of(
    kind: str, mode: DeliveryMode, server: Server, name: str, _lanes: int, *, confirms: bool = True
) -> Publishers:
    """Publish to one queue of the type `kind`, which is there after a restart."""
    async with await connect(server.address) as connection:
        channel = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        arguments: dict[str, Any] = {"x-queue-type": kind}
        queue = await channel.declare_queue(name, durable=True, arguments=arguments)

        async def publish(_: int = 0) -> None:
            message = Message(BODY, delivery_mode=mode)
            await channel.default_exchange.publish(message, name, mandatory=confirms)

        async def stored() -> int:
            # On the publisher's own channel, where the server answers after what went before.
            declared = await channel.declare_queue(name, durable=True, arguments=arguments)
            return declared.declaration_result.message_count or 0

        try:
            yield Publisher(stored=stored, confirmed=publish, unconfirmed=publish, arrived=stored)
        finally:
            await queue.delete(if_unused=False, if_empty=False)


quorum = partial(queue_of, "quorum", DeliveryMode.PERSISTENT)
persistent = partial(queue_of, "classic", DeliveryMode.PERSISTENT)
transient = partial(queue_of, "classic", DeliveryMode.NOT_PERSISTENT)

QUORUM = "quorum queue: on disk, fsynced"
PERSISTENT = "classic queue, persistent: written"
TRANSIENT = "classic queue, transient: in memory"

BENCHMARK = Benchmark(
    "rabbitmq",
    [
        Setting(QUORUM, ONE_BY_ONE, 400, quorum),
        Setting(QUORUM, BATCHES, 2000, quorum),
        Setting(QUORUM, IN_FLIGHT, 2000, quorum),
        Setting(QUORUM, NO_CONFIRM, 2000, partial(quorum, confirms=False), certain=False),
        Setting(PERSISTENT, ONE_BY_ONE, 400, persistent),
        Setting(PERSISTENT, IN_FLIGHT, 2000, persistent),
        Setting(TRANSIENT, ONE_BY_ONE, 400, transient),
        Setting(TRANSIENT, IN_FLIGHT, 2000, transient),
        Setting(TRANSIENT, NO_CONFIRM, 2000, partial(transient, confirms=False), certain=False),
    ],
)
