# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Request-reply on RabbitMQ: each asker gets its own answers."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from aio_pika import Message, connect
from aio_pika.abc import AbstractIncomingMessage

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUESTIONS = "lengths"
REPLIES = "amq.rabbitmq.reply-to"  # no queue: direct reply-to

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # Not replicated: a lost question ends with its timeout.
        await channel.declare_queue(QUESTIONS, durable=True)


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Connect; what it yields may be used concurrently."""
    waiting: dict[str, asyncio.Queue[bytes]] = {}

    async def listen(message: AbstractIncomingMessage) -> None:
        number = message.correlation_id or ""
        if number in waiting:  # else it is late, or no answer
            waiting[number].put_nowait(message.body)

    async with await connect(URL) as connection:
        channel = await connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        # First listen, then ask, and both on one AMQP channel.
        replies = await channel.get_queue(REPLIES, ensure=False)
        await replies.consume(listen, no_ack=True)

        async def ask(question: str, seconds: float) -> str:
            number = uuid4().hex
            waiting[number] = asyncio.Queue()
            message = Message(
                question.encode(),
                reply_to=REPLIES,  # RabbitMQ puts in the real address
                correlation_id=number,
                expiration=seconds,  # afterwards nobody needs the answer
            )
            try:
                async with asyncio.timeout(seconds):
                    await channel.default_exchange.publish(
                        message, routing_key=QUESTIONS, mandatory=True
                    )
                    return (await waiting[number].get()).decode()
            finally:
                del waiting[number]

        yield ask


async def answer(replier: str, handle: Handler) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=1)
        # Without this, aio-pika waits for ever once the server has cancelled
        # its consumer, because the queue was deleted, for example.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        queue = await channel.get_queue(QUESTIONS)
        async with queue.iterator(consumer_tag=replier) as messages:
            async for message in messages:
                to, number = message.reply_to, message.correlation_id
                try:
                    question = message.body.decode()
                    if not to or not number:
                        raise ValueError("it names no return address or id")
                except ValueError as error:
                    logging.warning("not a question: %s %r", error, message)
                    await message.ack()
                    continue
                reply = Message(
                    (await handle(question)).encode(), correlation_id=number
                )
                await channel.default_exchange.publish(
                    reply,
                    routing_key=to,
                    mandatory=False,  # the asker may have gone
                )
                await message.ack()
        # The iterator ends quietly with its connection.
        raise ConnectionError("RabbitMQ sends nothing any more")


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its asker waits
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(answer("replier", probe))
    async with asker() as ask:
        both = ask("cat.mp4", 30), ask("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await ask("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no answer in time")
        print(await ask("zebra.mp4", 30))  # owl's answer comes before it
    replier.cancel()


if __name__ == "__main__":
    asyncio.run(main())
