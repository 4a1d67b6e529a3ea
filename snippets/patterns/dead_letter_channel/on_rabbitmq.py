# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Dead letter channel on RabbitMQ: what fails three times goes there."""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel

import rabbitmq_client as rabbitmq
from rabbitmq_client import connect, declare_queue, open_consumer, publish, raw

QUEUE, DEAD = "transcode", "transcode.dead"
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]
Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    # This queue has no limit: 4.0 would drop what was looked at 22 times.
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    # The dead letters need that queue first. This one limits redeliveries.
    limited = {"x-delivery-limit": LIMIT - 1, **rabbitmq.dead_letters_to(DEAD)}
    await declare_queue(channel, QUEUE, limited)


async def submit(channel: AbstractChannel, messages: Sequence[str]) -> None:
    for body in messages:  # It may be any bytes.
        await publish(channel, QUEUE, raw(body))


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    # The worker takes one: if it dies, all that it holds count as tried.
    async with open_consumer(QUEUE, 1, worker) as (_, messages):
        async for message in messages:
            failures = message.headers.get("x-delivery-count", 0)
            video, done = "", False
            try:
                video = str(json.loads(message.body)["video"])
                await handle(video)
                done = True
            except Exception as error:  # the dead letter won't say it
                logging.warning("%r: %r", message.body[:80], error)
            if done or not video or failures == LIMIT - 1:
                settled += 1
            if settled and settled == limit:
                await messages.close()  # Else another one comes.
            if done:
                await message.ack()
            else:
                # Malformed: dead at once. 4.3 would not count a nack.
                await message.reject(requeue=bool(video))


async def dead(
    channel: AbstractChannel, redrive: bool = False, least: int = 0
) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    for letter in await rabbitmq.look(channel, DEAD, least):
        reason = str(letter.headers.get("x-last-death-reason"))
        # RabbitMQ does not say how often; it follows from the reason.
        attempts = LIMIT if reason == "delivery_limit" else 1
        found.append((rabbitmq.text(letter), reason, attempts))
        if redrive:
            # A copy, with the id, the trace and the headers it had.
            await rabbitmq.forward(channel, QUEUE, letter, {})
            await letter.ack()  # A crash repeats it, and loses nothing.
        else:
            await letter.nack(requeue=True)  # 4.3 does not count it.
    return sorted(found)


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
        # RabbitMQ moves dead letters in its own time: wait for them.
        print("dead:", *await dead(channel, least=2), sep="\n  ")
        unknown.clear()  # a new transcoder is installed
        await dead(channel, redrive=True, least=2)
        await work("A", transcode, limit=2)
        print("dead again:", *await dead(channel, least=1), sep="\n  ")


if __name__ == "__main__":
    rabbitmq.run(main)
