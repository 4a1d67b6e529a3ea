# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""What RabbitMQ 4 does with a task that always fails: by default, drop it."""

from collections.abc import Mapping

from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel

from rabbitmq_client import URL, run

TO_DEAD_LETTERS = {
    "x-dead-letter-exchange": "",  # the default exchange ...
    "x-dead-letter-routing-key": "dead",  # ... routes by the queue's name
}


async def fail_for_ever(
    channel: AbstractChannel, name: str, arguments: Mapping[str, str]
) -> int:
    queue = await channel.declare_queue(
        name,
        durable=True,
        arguments={"x-queue-type": "quorum", **arguments},
    )
    await channel.default_exchange.publish(
        Message(b"transcode broken.mp4"), routing_key=name
    )
    deliveries = 0
    while message := await queue.get(fail=False):
        deliveries += 1
        await message.reject(requeue=True)
    return deliveries


async def main() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        times = await fail_for_ever(channel, "transcode", {})
        print(f"as declared by default: delivered {times} times, then dropped")

        dead = await channel.declare_queue(
            "dead", durable=True, arguments={"x-queue-type": "quorum"}
        )
        times = await fail_for_ever(channel, "thumbnail", TO_DEAD_LETTERS)
        print(
            f"with a dead letter exchange: delivered {times} times, then ..."
        )
        async with dead.iterator() as letters:
            letter = await anext(letters)
            print(f"... {letter.body.decode()!r} is in {dead.name!r}, because")
            print(f"    of {letter.headers['x-first-death-reason']!r}")
            await letter.ack()


if __name__ == "__main__":
    run(main)
