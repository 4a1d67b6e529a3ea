# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Request-reply on the minibroker: each requestor gets its own replies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
REQUESTS, numbers = "lengths", count(1)
Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    BROKER.declare("no requests")
    BROKER.declare(REQUESTS, dead_letters="no requests")


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Open a queue for replies; what it yields may be used concurrently."""
    replies = f"replies.{next(numbers)}"
    BROKER.declare(replies)
    waiting: dict[str, asyncio.Queue[str]] = {}

    async def listen() -> None:
        with BROKER.consume(replies, "requestor") as consumer:
            async for delivery in consumer:
                message = delivery.message
                number = message.headers.get("correlation_id", "")
                if number in waiting:  # Else it is late, or no reply.
                    waiting[number].put_nowait(message.body)
                delivery.ack()

    async def request(body: str, seconds: float) -> str:
        number = str(next(numbers))
        waiting[number] = asyncio.Queue()
        try:
            BROKER.publish(
                REQUESTS,
                body,
                ttl=seconds,  # afterwards nobody needs the reply
                publisher="requestor",
                reply_to=replies,
                correlation_id=number,
            )
            async with asyncio.timeout(seconds):
                return await waiting[number].get()
        except TimeoutError:
            raise TimeoutError("no reply in time") from None
        finally:
            del waiting[number]

    listener = asyncio.create_task(listen())
    try:
        yield request
    finally:
        listener.cancel()


async def serve(replier: str, handle: Handler) -> None:
    with BROKER.consume(REQUESTS, replier) as consumer:
        async for delivery in consumer:
            body, headers = delivery.message.body, delivery.message.headers
            try:
                to, number = headers["reply_to"], headers["correlation_id"]
            except KeyError:
                delivery.nack(requeue=False)  # It is a dead letter then.
                continue
            reply = await handle(body)
            BROKER.publish(to, reply, publisher=replier, correlation_id=number)
            delivery.ack()  # A crash before it loses nothing.


async def main() -> None:
    async def probe(video: str) -> str:
        await asyncio.sleep(1.5 if video == "owl.mp4" else 0)
        return f"{video}: {len(video)} min"

    await declare()
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


if __name__ == "__main__":
    asyncio.run(main())
