# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Publish-subscribe on RabbitMQ: every subscriber gets every event."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

from rabbitmq_client import clock, connect, consume, run, text

CHANNEL = "videos"

Handler = Callable[[str], Awaitable[None]]


async def _exchange(channel: AbstractChannel) -> AbstractExchange:
    return await channel.declare_exchange(
        CHANNEL, ExchangeType.FANOUT, durable=True
    )


async def _queue(channel: AbstractChannel, subscriber: str) -> AbstractQueue:
    # The exchange keeps nothing: a queue of its own is what makes the
    # subscriber durable, and its slowness or failure its own affair.
    queue = await channel.declare_queue(
        f"{CHANNEL}.{subscriber}",
        durable=True,
        arguments={"x-queue-type": "quorum"},
    )
    await queue.bind(await _exchange(channel))
    return queue


async def subscribe(channel: AbstractChannel, subscriber: str) -> None:
    await _queue(channel, subscriber)


async def publish(channel: AbstractChannel, events: Sequence[str]) -> None:
    exchange = await _exchange(channel)
    for event in events:
        message = Message(
            event.encode(), delivery_mode=DeliveryMode.PERSISTENT
        )
        # It is not mandatory, as nobody has to be interested.
        async with clock("confirm"):
            await exchange.publish(message, "", mandatory=False)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with connect() as channel:
        queue = await _queue(channel, subscriber)
        async with consume(channel, queue.name) as messages:
            async for message in messages:  # They come in order.
                event = text(message)
                await handle(event)
                done += 1
                if done == limit:
                    await messages.close()  # Else the ack brings one more.
                await message.ack()


async def main() -> None:
    async def show(subscriber: str, event: str) -> None:
        print(f"{subscriber}: {event}")

    thumbnailer = partial(show, "thumbnailer")
    async with connect() as channel:
        await subscribe(channel, "thumbnailer")
        await subscribe(channel, "notifier")
        await publish(channel, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", thumbnailer, limit=2)
        print("notifier is away")
        await publish(channel, ["uploaded owl.mp4"])
    await receive("thumbnailer", thumbnailer, limit=1)
    print("notifier is back")
    await receive("notifier", partial(show, "notifier"), limit=3)


if __name__ == "__main__":
    run(main)
