# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Dead letter channel on RabbitMQ: what fails three times goes there."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel

from rabbitmq_client import (
    connect,
    consume,
    dead_letters_to,
    declare_queue,
    forward,
    look,
    publish,
)

QUEUE, DEAD = "transcode", "transcode.dead"
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    # First, as a dead letter that no queue takes would be dropped. And
    # without a limit: 4.0 would drop what was looked at 22 times.
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    # Its own limit counts redeliveries.
    limited = {"x-delivery-limit": LIMIT - 1, **dead_letters_to(DEAD)}
    await declare_queue(channel, QUEUE, limited)


async def submit(channel: AbstractChannel, messages: Sequence[str]) -> None:
    for body in messages:  # any bytes
        await publish(channel, QUEUE, body.encode(errors="surrogateescape"))


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # done or dead
    async with (
        connect() as channel,
        # One: if the worker dies, all that it holds count as tried.
        consume(channel, QUEUE, 1, worker) as messages,
    ):
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
            if done or not video or failures == LIMIT - 1:
                settled += 1
            if settled == limit:
                await messages.close()  # or another one comes
            if done:
                await message.ack()
            else:
                # Malformed: dead at once. From 4.3 on a nack won't count.
                await message.reject(requeue=bool(video))


async def dead(
    channel: AbstractChannel, redrive: bool = False
) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    for letter in await look(channel, DEAD):
        body = letter.body.decode(errors="surrogateescape")
        reason = str(letter.headers.get("x-last-death-reason"))
        # RabbitMQ does not say how often; it follows from the reason.
        attempts = LIMIT if reason == "delivery_limit" else 1
        found.append((body, reason, attempts))
        if redrive:
            await forward(channel, QUEUE, letter, {})  # as it was
            await letter.ack()  # last: a crash repeats, and loses nothing
        else:
            await letter.nack(requeue=True)
    return found


async def moved(channel: AbstractChannel, number: int) -> str:
    while True:  # RabbitMQ moves dead letters in its own time
        found = sorted(await dead(channel))
        if len(found) == number:
            return "\n  ".join(map(str, found))
        await asyncio.sleep(0.1)


async def main() -> None:
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    async with connect() as channel:
        await declare(channel)
        await submit(channel, MESSAGES)
        await work("A", transcode, limit=3)
        print("dead:", await moved(channel, 2), sep="\n  ")
        unknown.clear()  # a new transcoder is installed
        sent_back = 0
        while sent_back < 2:
            sent_back += len(await dead(channel, redrive=True))
        await work("A", transcode, limit=2)
        print("dead again:", await moved(channel, 1), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
