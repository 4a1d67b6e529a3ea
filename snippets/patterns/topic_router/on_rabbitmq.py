# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Topic router on RabbitMQ: bindings with wildcards choose the queues."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aio_pika
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractExchange
from aio_pika.exceptions import PublishError

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = "videos"
EVENTS = [
    ("video.transcoded.de", "cat.mp4"),
    ("video.transcoded.en.4k", "dog.mp4"),
    ("video.uploaded.de", "bee.mp4"),
    ("video.deleted.en", "owl.mp4"),
]
Handler = Callable[[str, str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(URL, timeout=10, heartbeat=10) as opened:
        channel = await opened.channel(on_return_raises=True)
        # Else aio-pika waits for ever once its consumer is cancelled.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: opened.close())
        yield channel
        if channel.is_closed:  # a consumer's loop ends quietly with it
            raise ConnectionError(f"RabbitMQ is lost: {underlay.closing!r}")


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
    for pattern in patterns:  # bindings add up; only unbind() ends one
        await queue.bind(await _exchange(channel), pattern)


async def publish(
    channel: AbstractChannel, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    exchange = await _exchange(channel)
    for key, body in events:
        message = Message(body.encode(), delivery_mode=DeliveryMode.PERSISTENT)
        try:
            await exchange.publish(message, key, mandatory=True, timeout=10)
        except PublishError:  # returned: no binding matches its key
            unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    # A connection of its own: as it ends, what the receiver holds goes back.
    async with connect() as channel:
        await channel.set_qos(prefetch_count=1)  # one by one, in order
        queue = await channel.get_queue(f"{EXCHANGE}.{receiver}")
        async with queue.iterator() as messages:
            async for message in messages:
                # Any bytes: a bad event must not stop the receiver.
                body = message.body.decode(errors="surrogateescape")
                await handle(message.routing_key or "", body)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another event
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
    asyncio.run(main())
