# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Request-reply on RabbitMQ: each requestor gets its own replies."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4
from weakref import WeakValueDictionary

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rabbitmq_client import clock, connect, open_consumer, raw, run, text

REQUESTS = "lengths"
REPLIES = "amq.rabbitmq.reply-to"  # It is no queue: direct reply-to.
Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]
Replies = asyncio.Queue[AbstractIncomingMessage]


async def declare(channel: AbstractChannel) -> None:
    # This queue is not replicated: a lost request ends with its timeout.
    await channel.declare_queue(REQUESTS, durable=True)


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    # After a lost connection each request raises: enter it again.
    waiting = WeakValueDictionary[str, Replies]()

    async def listen(message: AbstractIncomingMessage) -> None:
        if inbox := waiting.get(message.correlation_id or ""):  # else late
            inbox.put_nowait(message)

    async with connect() as channel:
        # Listen first, then send, and do both on one AMQP channel.
        replies = await channel.get_queue(REPLIES, ensure=False)
        await replies.consume(listen, no_ack=True)

        async def request(body: str, seconds: float) -> str:
            number = uuid4().hex
            inbox = waiting[number] = Replies()
            message = Message(
                body.encode(),
                reply_to=REPLIES,  # RabbitMQ puts in the real address
                correlation_id=number,
                expiration=seconds,  # afterwards nobody needs the reply
            )
            async with clock("reply", seconds):
                await channel.default_exchange.publish(message, REQUESTS)
                reply = await inbox.get()
            return text(reply)

        yield request


async def serve(replier: str, handle: Handler) -> None:
    async with open_consumer(REQUESTS, 1, replier) as (channel, messages):
        exchange = channel.default_exchange
        async for message in messages:
            to, number = message.reply_to or "", message.correlation_id
            if number and to.startswith(f"{REPLIES}."):  # It is no queue.
                body = raw(await handle(text(message)))
                reply = Message(body, correlation_id=number)
                # It is not mandatory, as the requestor may have gone.
                async with clock("confirm"):
                    await exchange.publish(reply, to, mandatory=False)
            else:
                logging.warning("not a request, or no id: %r", message)
            await message.ack()


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # This is longer than its wait.
        return f"{video}: {len(video)} min"

    async with connect() as channel:
        await declare(channel)
    replier = asyncio.create_task(serve("replier", probe))
    async with requestor() as request:
        both = request("cat.mp4", 30), request("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await request("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no reply in time")
        print(await request("zebra.mp4", 30))  # owl's reply comes before it
    replier.cancel()
    await asyncio.wait([replier])


if __name__ == "__main__":
    run(main)
