# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Dead letter channel on RabbitMQ: what fails three times goes there."""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import DeliveryMode, Message, connect

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE, DEAD = "transcode", "transcode.dead"
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # First, as a dead letter that no queue takes would be dropped. And
        # without a limit: it would drop what was looked at 22 times.
        await channel.declare_queue(
            DEAD,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": -1},
        )
        await channel.declare_queue(
            QUEUE,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": LIMIT - 1,  # counts redeliveries
                "x-dead-letter-exchange": "",  # without one, it drops them
                "x-dead-letter-routing-key": DEAD,
                # Keep it until DEAD has confirmed it; usual: at-most-once.
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # at-least-once asks for it
            },
        )


async def submit(messages: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            message = Message(raw, delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(
                message, routing_key=QUEUE, mandatory=True
            )


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # One: if the worker dies, all that it holds count as tried.
        await channel.set_qos(prefetch_count=1)
        # Without this, aio-pika waits for ever once its consumer is cancelled.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await channel.get_queue(QUEUE)
        async with queue.iterator(consumer_tag=worker) as messages:
            async for message in messages:
                failures = message.headers.get("x-delivery-count", 0)
                video, done = "", False
                try:
                    video = str(json.loads(message.body)["video"])
                    await handle(video)
                    done = True
                except Exception as error:
                    # The dead letter won't say what the error was: log it.
                    logging.warning("%r: %r", message.body[:80], error)
                settled += done or not video or failures == LIMIT - 1
                if settled == limit:
                    await messages.close()  # or another one comes
                if done:
                    await message.ack()
                else:
                    # Malformed: dead at once. From 4.3 on a nack won't count.
                    await message.reject(requeue=bool(video))
    if settled != limit:  # the iterator ends quietly with its connection
        raise ConnectionError("RabbitMQ sends nothing any more")


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async with await connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(DEAD, passive=True)
        count = queue.declaration_result.message_count or 0
        for letter in [await queue.get() for _ in range(count)]:
            body = letter.body.decode(errors="surrogateescape")
            reason = str(letter.headers["x-last-death-reason"])
            # RabbitMQ does not say how often; it follows from the reason.
            number = LIMIT if reason == "delivery_limit" else 1
            found.append((body, reason, number))
            if redrive:
                await submit([body])
                await letter.ack()  # last: a crash repeats, and loses nothing
            else:
                await letter.nack(requeue=True)
    return found


async def moved(number: int) -> list[tuple[str, str, int]]:
    while True:  # RabbitMQ moves dead letters in its own time
        found = await dead()
        if len(found) >= number:
            return found
        await asyncio.sleep(0.1)


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await moved(2)), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    sent_back = 0
    while sent_back < 2:
        sent_back += len(await dead(redrive=True))
    await work("A", transcode, limit=2)
    print("dead again:", *await moved(1), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
