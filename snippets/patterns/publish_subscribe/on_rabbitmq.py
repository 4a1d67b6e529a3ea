# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Publish-subscribe on RabbitMQ: every subscriber gets every event."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, ExchangeType, Message, connect
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
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


async def subscribe(subscriber: str) -> None:
    async with await connect(URL) as connection:
        await _queue(await connection.channel(), subscriber)


async def publish(events: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True)
        exchange = await _exchange(channel)
        for event in events:
            await exchange.publish(
                Message(event.encode(), delivery_mode=DeliveryMode.PERSISTENT),
                routing_key="",
                mandatory=False,  # nobody has to be interested
            )


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)  # one by one, in order
        # Without this, aio-pika waits for ever once the server has cancelled
        # its consumer: the queue is deleted, or (4.3) a event took too long.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await _queue(channel, subscriber)
        done = 0
        async with queue.iterator() as messages:
            async for message in messages:
                # Any bytes: a bad event must not stop the receiver.
                event = message.body.decode(errors="surrogateescape")
                await handle(event)
                done += 1
                if done == limit:
                    await messages.close()  # or the ack brings another event
                await message.ack()
        if done != limit:  # the iterator ends quietly with its connection
            raise ConnectionError("RabbitMQ sends nothing any more")


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def handle(event: str) -> None:
            print(f"{subscriber}: {event}")

        return handle

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
