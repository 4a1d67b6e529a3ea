"""What RabbitMQ says, and what aio-pika makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from tests.brokers import Server
from tests.errors.conftest import Hearing

pytestmark = pytest.mark.broker("rabbitmq")


@asynccontextmanager
async def channel_of(server: Server) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(server.address) as connection:
        yield await connection.channel()


def test_inequivalent_arg(server: Server, said: Hearing) -> None:
    async def provoke() -> None:
        async with channel_of(server) as channel:
            await channel.declare_queue("inequivalent", exclusive=False)
            await channel.declare_queue("inequivalent", durable=True)

    with pytest.raises(aio_pika.exceptions.AMQPError) as caught:
        asyncio.run(provoke())
    said(caught.value)
