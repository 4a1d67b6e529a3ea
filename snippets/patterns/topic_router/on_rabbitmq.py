# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Topic router on RabbitMQ: bindings with wildcards choose the queues."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, ExchangeType, Message, connect
from aio_pika.abc import AbstractChannel, AbstractExchange
from aio_pika.exceptions import PublishError

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
EXCHANGE = "videos"

Handler = Callable[[str, str], Awaitable[None]]


async def _exchange(channel: AbstractChannel) -> AbstractExchange:
    return await channel.declare_exchange(
        EXCHANGE, ExchangeType.TOPIC, durable=True
    )


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        exchange = await _exchange(channel)
        queue = await channel.declare_queue(
            f"{EXCHANGE}.{receiver}",
            durable=True,
            arguments={"x-queue-type": "quorum"},
        )
        for pattern in patterns:  # bindings add up; only unbind() ends one
            await queue.bind(exchange, pattern)


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        exchange = await _exchange(channel)
        for key, body in events:
            message = Message(
                body.encode(), delivery_mode=DeliveryMode.PERSISTENT
            )
            try:
                await exchange.publish(message, key, mandatory=True)
            except PublishError:  # returned: no binding matches its key
                unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)  # one by one, in order
        # Without this, aio-pika waits for ever once the server has cancelled
        # its consumer: the queue is deleted, or (4.3) an event took too long.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await channel.get_queue(f"{EXCHANGE}.{receiver}")
        done = 0
        async with queue.iterator() as messages:
            async for message in messages:
                body = message.body.decode(errors="surrogateescape")
                await handle(message.routing_key or "", body)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another event
                await message.ack()
        if done != limit:  # the iterator ends quietly with its connection
            raise ConnectionError("RabbitMQ sends nothing any more")


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video.*.de"])
    await subscribe("player", ["video.transcoded.#"])
    unheard = await publish(
        [
            ("video.transcoded.de", "cat.mp4"),
            ("video.transcoded.en.4k", "dog.mp4"),
            ("video.uploaded.de", "bee.mp4"),
            ("video.deleted.en", "owl.mp4"),
        ]
    )
    print(f"nobody wants: {unheard}")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
