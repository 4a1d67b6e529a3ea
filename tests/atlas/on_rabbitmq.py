"""RabbitMQ: a classic queue, which has one copy, or a quorum queue, which has three."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection

from tests.atlas.asked import QUEUE, Asked, Setting
from tests.atlas.load import CONNECT_SECONDS, RefusedError, UselessError
from tests.brokers.cluster.cluster import until
from tests.brokers.cluster.machines import NUMBERS, Machine, address
from tests.brokers.cluster.rabbitmq import RabbitmqCluster


async def connected(number: int) -> AbstractConnection:
    return await aio_pika.connect(
        f"amqp://guest:guest@{address(number)}/?heartbeat=6", timeout=CONNECT_SECONDS
    )


class RabbitmqConnection:
    """A producer's connection to one node, with publisher confirms."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        self._connection, self._channel = connection, channel

    async def publish(self, message: int) -> None:
        if self._channel.is_closed:
            raise UselessError("not connected")
        persistent = aio_pika.DeliveryMode.PERSISTENT
        answer = await self._channel.default_exchange.publish(
            aio_pika.Message(b"%d" % message, delivery_mode=persistent), QUEUE, mandatory=True
        )
        delivery: Any = getattr(answer, "delivery", None)
        if delivery is not None and delivery.name == "Basic.Return":
            raise RefusedError("returned: no queue")

    async def close(self) -> None:
        await self._connection.close()


class AskedRabbitmq(Asked):
    """RabbitMQ: durable queues and persistent messages, with confirms."""

    key = "rabbitmq"
    client = "aio-pika"
    settings = (
        Setting("classic", "`x-queue-type: classic`, durable, persistent", default=True),
        Setting("quorum", "`x-queue-type: quorum`", safe=True),
    )

    by_hand: ClassVar = {
        "node-replaced": "The operator has the other nodes forget the lost one"
        " (`rabbitmqctl forget_cluster_node`), starts the empty one, which joins them by itself,"
        " and gives it a member of each quorum queue (`rabbitmq-queues grow`).",
    }

    def make(self, machines: Mapping[int, Machine]) -> RabbitmqCluster:
        return RabbitmqCluster(machines)

    async def declare(self) -> None:
        arguments: dict[str, Any] = {"x-queue-type": self.setting}
        if self.setting == "quorum":
            arguments["x-quorum-initial-group-size"] = len(NUMBERS)
        connection = await connected(NUMBERS[0])
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue(QUEUE, durable=True, arguments=arguments)

    async def connect(self, number: int) -> RabbitmqConnection:
        connection = await connected(number)
        return RabbitmqConnection(connection, await connection.channel())

    async def read(self) -> list[int]:
        async def opened() -> tuple[AbstractConnection, Any] | None:
            connection = await connected(NUMBERS[0])
            channel = await connection.channel()
            await channel.set_qos(500)
            # Declared passively: the queue of a node that is away answers with an error.
            return connection, await channel.declare_queue(QUEUE, passive=True)

        got = await until(opened, "RabbitMQ to have the queue")
        assert got
        connection, queue = got
        found: list[int] = []
        async with connection:
            while message := await queue.get(fail=False, timeout=60):
                found.append(int(message.body))
                await message.ack()
        return found
