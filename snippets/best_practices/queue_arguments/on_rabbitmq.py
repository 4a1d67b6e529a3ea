# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""A queue's arguments are for ever: move to a new queue instead."""

from typing import Any

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed

from rabbitmq_client import URL, clock, run

QUORUM = {"x-queue-type": "quorum"}
OLD, NEW = "transcode", "transcode.v2"
LIMITED = {**QUORUM, "x-delivery-limit": 5}


async def declare(
    connection: AbstractConnection, name: str, arguments: dict[str, Any]
) -> None:
    channel = await connection.channel()
    await channel.declare_queue(name, durable=True, arguments=arguments)
    await channel.close()


async def bind(connection: AbstractConnection, name: str) -> None:
    channel = await connection.channel()
    await channel.declare_exchange("tasks", durable=True)
    queue = await channel.get_queue(name)
    await queue.bind("tasks", "transcode")
    await channel.close()


async def submit(connection: AbstractConnection, task: str) -> None:
    channel = await connection.channel(on_return_raises=True)
    exchange = await channel.get_exchange("tasks")
    message = Message(task.encode(), delivery_mode=DeliveryMode.PERSISTENT)
    async with clock("confirm"):
        await exchange.publish(message, routing_key="transcode")
    await channel.close()


async def unbind(connection: AbstractConnection, name: str) -> None:
    channel = await connection.channel()
    queue = await channel.get_queue(name)
    await queue.unbind("tasks", "transcode")
    await channel.close()


async def drain(connection: AbstractConnection, name: str) -> list[str]:
    channel = await connection.channel()
    queue = await channel.get_queue(name)
    done = []
    while message := await queue.get(fail=False):
        done.append(message.body.decode())
        await message.ack()
    await channel.close()
    return done


async def delete(connection: AbstractConnection, name: str) -> bool:
    """Delete a queue that nobody needs; tell whether it was so."""
    channel = await connection.channel()
    queue = await channel.get_queue(name)
    # if_unused and if_empty would close the connection: quorum queues have
    # neither. So we look, and nobody may begin to consume meanwhile.
    left = queue.declaration_result
    unused = not left.message_count and not left.consumer_count
    if unused:
        await channel.queue_delete(name)
    await channel.close()
    return unused


async def main() -> None:
    async with await aio_pika.connect(URL, timeout=10) as connection:
        await declare(connection, OLD, QUORUM)
        try:
            await declare(connection, OLD, LIMITED)
        except ChannelPreconditionFailed as error:
            print(str(error).split(":")[0])
        await bind(connection, OLD)
        await submit(connection, "cat.mp4")
        await declare(connection, NEW, LIMITED)
        await bind(connection, NEW)  # now both queues get a copy,
        await unbind(connection, OLD)  # No task goes to none.
        await submit(connection, "dog.mp4")
        print("the old queue's workers finish:", await drain(connection, OLD))
        print("the old queue is deleted:", await delete(connection, OLD))
        print("the new queue's workers do:", await drain(connection, NEW))


if __name__ == "__main__":
    run(main)
