# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Request-reply on MQTT 5: each requestor gets its own replies."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import Any
from uuid import uuid4

from mqtt_session import Session, connect, in_time, run

REQUESTS, SHARED = "lengths", "$share/repliers/lengths"
REPLIES = f"{REQUESTS}/replies/"  # a replier publishes nowhere else
Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    """Do nothing: a topic of MQTT is only a name."""


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Serve many requests at once; when all raise, enter it again."""
    topic = f"{REPLIES}{uuid4().hex}"
    waiting: dict[bytes, asyncio.Future[str]] = {}

    async def listen(client: Session) -> None:
        async for message in client.messages():
            number = getattr(message.properties, "CorrelationData", b"")
            if told := waiting.pop(number, None):  # Else it is late.
                told.set_result(message.payload.decode(errors="replace"))
            client.ack(message)

    async def request(body: str, seconds: float) -> str:
        number = uuid4().bytes
        waiting[number] = told = asyncio.Future[str]()
        extra: Any = {"ResponseTopic": topic, "CorrelationData": number}
        extra["MessageExpiryInterval"] = ceil(seconds)  # It has whole seconds.
        ends: list[asyncio.Future[Any]] = [told, listener]
        try:
            async with in_time("reply", seconds):
                while not await client.publish(REQUESTS, body, **extra):
                    logging.info("no replier has %r: send it again", body)
                    await asyncio.sleep(0.1)
                await asyncio.wait(ends, return_when="FIRST_COMPLETED")
            if not told.done():
                await listener  # It raises: the connection is lost.
            return told.result()
        finally:
            waiting.pop(number, None)

    async with connect() as client:
        await client.subscribe(topic)
        listener = asyncio.create_task(listen(client))
        try:
            yield request
        finally:
            listener.cancel()


async def serve(replier: str, handle: Handler) -> None:
    async with connect(replier) as session:
        await session.subscribe(SHARED)
        async for message in session.messages():
            body = message.payload.decode(errors="surrogateescape")
            to = getattr(message.properties, "ResponseTopic", "")
            if to.startswith(REPLIES):
                reply = await handle(body)
                await session.publish(to, reply, copied=message)
            else:
                logging.warning("not a request: %r", message.payload)
            session.ack(message)


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # This is longer than its wait.
        return f"{video}: {len(video)} min"

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
    run(main)
