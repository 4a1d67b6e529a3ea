# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Three mistakes for which RabbitMQ closes the channel."""

from collections.abc import Awaitable, Callable

from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from rabbitmq_client import URL, run


async def declare_again(channel: AbstractChannel) -> None:
    await channel.declare_queue(
        "transcode", durable=True, arguments={"x-queue-type": "quorum"}
    )
    await channel.declare_queue("transcode", durable=True)  # now classic


async def send_17_mib(channel: AbstractChannel) -> None:
    await channel.default_exchange.publish(
        Message(bytes(17 * 1024 * 1024)), routing_key="transcode"
    )


async def publish_to_nowhere(channel: AbstractChannel) -> None:
    exchange = await channel.get_exchange("uploads", ensure=False)
    await exchange.publish(Message(b"cat.mp4"), routing_key="video")


async def main() -> None:
    mistakes: list[Callable[[AbstractChannel], Awaitable[None]]] = [
        declare_again,
        send_17_mib,
        publish_to_nowhere,
    ]
    async with await connect(URL) as connection:
        for mistake in mistakes:
            channel = await connection.channel()
            try:
                await mistake(channel)
            except AMQPError as error:
                print(f"{mistake.__name__}: {type(error).__name__}")
                print(f"  {error}")
            print(f"  channel closed: {channel.is_closed}", end=", ")
            print(f"connection closed: {connection.is_closed}")


if __name__ == "__main__":
    run(main)
