"""What RabbitMQ 4.3 denies by default, and 4.0 denies when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq

Use = Callable[[AbstractChannel], Awaitable[object]]


class Denying(Rabbitmq):
    """RabbitMQ that has the feature switched off, as 4.3 has."""

    def prepare(self) -> None:
        super().prepare()
        with (self.data / "rabbitmq.conf").open("a") as file:
            file.write("deprecated_features.permit.transient_nonexcl_queues = false\n")


def what_it_says(server: Server, use: Use) -> str:
    async def ask() -> str:
        async with await aio_pika.connect(server.address) as connection:
            try:
                async with asyncio.timeout(60):
                    await use(await connection.channel())
            except Exception as error:
                return repr(error)
            return "fine"

    return asyncio.run(ask())


def transient(channel: AbstractChannel) -> Awaitable[object]:
    return channel.declare_queue("transient", durable=False, exclusive=False)


def exclusive(channel: AbstractChannel) -> Awaitable[object]:
    return channel.declare_queue("mine", durable=False, exclusive=True)


@pytest.mark.broker("rabbitmq")
def test_a_denied_queue_is_refused_and_an_exclusive_one_is_not(server: Server) -> None:
    assert what_it_says(server, transient) == "fine"
    with server.another(Denying) as denying:
        assert what_it_says(denying, exclusive) == "fine"
        refused = what_it_says(denying, transient)
        assert "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated" in refused
