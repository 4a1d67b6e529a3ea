# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "fastapi>=0.120", "httpx>=0.28"]
# ///
"""A web application that publishes and consumes, with a health check."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import httpx
from aio_pika.abc import (
    AbstractChannel,
    AbstractIncomingMessage,
    AbstractQueue,
)
from fastapi import FastAPI, HTTPException

from rabbitmq_client import clock, connect, dead_letters_to, declare_queue, run

QUEUE, DEAD = "transcode", "transcode.dead"
ASK_SECONDS, SILENT_SECONDS = 2, 10

log = logging.getLogger("transcoder")
transcoded = deque[str](maxlen=100)  # They are here to look at.


class Link:
    """What this process knows of its broker."""

    channel: AbstractChannel
    ready = asyncio.Event()
    heard = 0.0  # when the broker answered last


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connect once, before the first request; leave after the last one."""
    keeper = asyncio.create_task(keep_connected())
    try:
        async with clock("connection"):  # Else the application doesn't start.
            await Link.ready.wait()
        yield
    finally:
        # A connection that is lost just then raises in the cancellation's
        # place, and the keeper takes it for one more loss.
        while not keeper.done():
            keeper.cancel()
            await asyncio.wait([keeper], timeout=1)


async def keep_connected() -> None:
    while True:  # It goes on for as long as the process lives.
        try:
            # It ends when the consumer does: nobody would be told otherwise.
            async with connect() as channel:
                Link.channel = channel
                async with clock("answer", 10):
                    await channel.set_qos(prefetch_count=4)
                    await (await declare(channel)).consume(work)
                while True:  # Only the broker can answer this.
                    async with clock("answer", 5):
                        await declare(channel)
                    Link.heard = time.monotonic()
                    Link.ready.set()
                    await asyncio.sleep(ASK_SECONDS)
        except Exception as error:
            log.warning("connecting to RabbitMQ again: %r", error)
        await asyncio.sleep(1 + random.random())


async def declare(channel: AbstractChannel) -> AbstractQueue:
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    return await declare_queue(channel, QUEUE, dead_letters_to(DEAD))


async def work(message: AbstractIncomingMessage) -> None:
    task = message.body.decode(errors="surrogateescape")
    try:
        await asyncio.sleep(0.1)  # This transcodes it.
        transcoded.append(task)
    except Exception:
        log.exception("failed: %r", task)
        await message.reject(requeue=False)  # a dead letter
    else:
        await message.ack()


app = FastAPI(lifespan=lifespan)


@app.post("/videos/{name}", status_code=202)
async def upload(name: str) -> None:
    message = aio_pika.Message(name.encode(), delivery_mode=2)
    try:
        async with clock("confirm", 5):
            await Link.channel.default_exchange.publish(message, QUEUE)
    except Exception as error:  # It is accepted when the broker confirms.
        raise HTTPException(503, f"not accepted: {error!r}") from error


@app.get("/health")
async def health() -> None:
    age = time.monotonic() - Link.heard
    if age > SILENT_SECONDS:
        raise HTTPException(503, f"no answer from the broker for {age:.0f} s")


async def main() -> None:
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    )
    async with app.router.lifespan_context(app), client:
        answer = await client.post("/videos/cat.mp4")
        print("POST /videos/cat.mp4:", answer.status_code)
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.1)
                if transcoded:
                    break
        print("transcoded", *transcoded)
        print("GET /health:", (await client.get("/health")).status_code)


if __name__ == "__main__":
    run(main)
