# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Request-reply on RabbitMQ: each requestor gets its own answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rabbitmq_client import connect, open_consumer

QUESTIONS = "lengths"
REPLIES = "amq.rabbitmq.reply-to"  # no queue: direct reply-to
Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare(channel: AbstractChannel) -> None:
    # Not replicated: a lost question ends with its timeout.
    await channel.declare_queue(QUESTIONS, durable=True)


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    # After a lost connection each question raises: enter it again.
    waiting: dict[str, asyncio.Queue[bytes]] = {}

    async def listen(message: AbstractIncomingMessage) -> None:
        number = message.correlation_id or ""
        if number in waiting:  # else it is late, or no answer
            waiting[number].put_nowait(message.body)

    async with connect() as channel:
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
                    await channel.default_exchange.publish(message, QUESTIONS)
                    return (await waiting[number].get()).decode()
            finally:
                del waiting[number]

        yield ask


async def answer(replier: str, handle: Handler) -> None:
    async with open_consumer(QUESTIONS, 1, replier) as (channel, messages):
        exchange = channel.default_exchange
        async for message in messages:
            to, number = message.reply_to or "", message.correlation_id
            try:
                question = message.body.decode()
                if not (number and to.startswith(f"{REPLIES}.")):
                    raise ValueError("no id, or its answer is for a queue")
            except ValueError as error:
                logging.warning("not a question: %s %r", error, message)
                await message.ack()
                continue
            reply = Message(
                (await handle(question)).encode(), correlation_id=number
            )
            # Not mandatory: the requestor may have gone.
            await exchange.publish(reply, to, mandatory=False, timeout=10)
            await message.ack()


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its requestor waits
        return f"{video}: {len(video)} min"

    async with connect() as channel:
        await declare(channel)
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
