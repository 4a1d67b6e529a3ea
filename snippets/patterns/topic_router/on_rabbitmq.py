# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Topic router on RabbitMQ: bindings with wildcards choose the queues."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractExchange
from aio_pika.exceptions import PublishError

from rabbitmq_client import clock, connect, open_consumer, run, text

EXCHANGE = "videos"
EVENTS = [
    ("video.transcoded.de", "cat.mp4"),
    ("video.transcoded.en.4k", "dog.mp4"),
    ("video.uploaded.de", "bee.mp4"),
    ("video.deleted.en", "owl.mp4"),
]
Handler = Callable[[str, str], Awaitable[None]]


async def _exchange(channel: AbstractChannel) -> AbstractExchange:
    return await channel.declare_exchange(
        EXCHANGE, ExchangeType.TOPIC, durable=True
    )


async def subscribe(
    channel: AbstractChannel, receiver: str, patterns: Sequence[str]
) -> None:
    queue = await channel.declare_queue(
        f"{EXCHANGE}.{receiver}",
        durable=True,
        arguments={"x-queue-type": "quorum"},
    )
    exchange = await _exchange(channel)
    for pattern in patterns:  # bindings add up; only unbind() ends one
        await queue.bind(exchange, pattern)


async def publish(
    channel: AbstractChannel, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    exchange = await _exchange(channel)
    for key, body in events:
        message = Message(body.encode(), delivery_mode=DeliveryMode.PERSISTENT)
        try:
            async with clock("confirm"):
                await exchange.publish(message, key, mandatory=True)
        except PublishError:  # It came back: no binding matches its key.
            unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with open_consumer(f"{EXCHANGE}.{receiver}") as (_, messages):
        async for message in messages:  # They come in order.
            body = text(message)
            await handle(message.routing_key or "", body)
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings one more.
            await message.ack()


async def main() -> None:
    async def show(receiver: str, key: str, body: str) -> None:
        print(f"{receiver}: {key} {body}")

    async with connect() as channel:
        await subscribe(channel, "german", ["video.*.de"])
        await subscribe(channel, "player", ["video.transcoded.#"])
        print(f"nobody wants: {await publish(channel, EVENTS)}")
    for receiver in ("german", "player"):
        await receive(receiver, partial(show, receiver), limit=2)


if __name__ == "__main__":
    run(main)
