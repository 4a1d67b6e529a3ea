# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Redrive on RabbitMQ: group dead letters, send some back, slowly."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE, DEAD = "transcode", "transcode.dead"
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
# No limit for the dead: each look is a delivery.
FOR_THE_DEAD: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": -1,
}


async def put(channel: AbstractChannel, queue: str, letter: Message) -> None:
    letter.delivery_mode = DeliveryMode.PERSISTENT
    await channel.default_exchange.publish(letter, queue)


def reason(letter: AbstractIncomingMessage) -> str:
    return str(letter.headers.get("reason", "unknown"))


@asynccontextmanager
async def letters(
    channel: AbstractChannel, most: int = 1000
) -> AsyncIterator[list[AbstractIncomingMessage]]:
    """Hold up to `most` letters; hand back what is not acknowledged."""
    queue = await channel.get_queue(DEAD)
    held: list[AbstractIncomingMessage] = []
    while len(held) < most and (letter := await queue.get(fail=False)):
        held.append(letter)
    try:
        yield held
    finally:
        for letter in held:
            if not letter.processed:
                await letter.nack()


async def triage(channel: AbstractChannel) -> dict[str, int]:
    async with letters(channel) as held:
        return dict(sorted(Counter(map(reason, held)).items()))


async def redrive(
    channel: AbstractChannel,
    chosen: Callable[[AbstractIncomingMessage], bool],
    rate: float,
    most: int,
) -> int:
    """Send back `most` letters at `rate` a second; return how many it was."""
    async with letters(channel) as held:
        sending = [letter for letter in held if chosen(letter)][:most]
        for letter in sending:
            # The same id: the receiver knows by it what it has done before.
            copy = Message(
                letter.body,
                headers={**letter.headers, "redriven": 1},
                message_id=letter.message_id,
                correlation_id=letter.correlation_id,
            )
            await put(channel, QUEUE, copy)  # confirmed
            await letter.ack()
            await asyncio.sleep(1 / rate)
    return len(sending)


async def main() -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.declare_queue(QUEUE, durable=True, arguments=QUORUM)
        await channel.declare_queue(DEAD, durable=True, arguments=FOR_THE_DEAD)
        for number, why in enumerate(("codec", "codec", "disk", "codec")):
            letter = Message(
                json.dumps({"video": f"{number}.mp4"}).encode(),
                headers={"reason": why},
                message_id=f"m-{number}",
            )
            await put(channel, DEAD, letter)
        print("dead:", await triage(channel))
        # The codec is repaired: send one, look, and then the others.
        for most in (1, 100):
            sent = await redrive(
                channel, lambda one: reason(one) == "codec", 50, most
            )
            print(f"sent back {sent}, left: {await triage(channel)}")


if __name__ == "__main__":
    asyncio.run(main())
