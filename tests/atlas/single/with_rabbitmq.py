"""RabbitMQ, by aio-pika: connect, declare, publish, read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue

QUEUE = "videos"


@asynccontextmanager
async def opened(address: str, prefetch: int = 0) -> AsyncIterator[AbstractChannel]:
    """Open a connection of its own, and a channel with confirms, which are aio-pika's default."""
    async with await aio_pika.connect(address) as connection:
        channel = await connection.channel()
        if prefetch:
            await channel.set_qos(prefetch_count=prefetch)
        yield channel


async def declare(
    channel: AbstractChannel, kind: str = "classic", name: str = QUEUE, **arguments: Any
) -> AbstractQueue:
    """Declare a durable queue; an argument `x_max_length` is `x-max-length`."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind} | named)


async def publish(channel: AbstractChannel, numbers: Iterable[int], name: str = QUEUE) -> None:
    """Publish each number as a persistent message, and wait for its confirm."""
    for number in numbers:
        body = aio_pika.Message(b"%d" % number, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(body, name)


async def rest(queue: AbstractQueue) -> list[int]:
    """Take all that waits in a queue."""
    found = []
    while message := await queue.get(no_ack=True, fail=False):
        found.append(int(message.body))
    return found
