# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Redrive on RabbitMQ: group dead letters, send some back, slowly."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from rabbitmq_client import connect, declare_queue, forward, publish, run

QUEUE, DEAD = "transcode", "transcode.dead"
TRIES = 2  # what comes back once more is not helped by a third time


def reason(letter: AbstractIncomingMessage) -> str:
    return str(letter.headers.get("reason", "unknown"))


def redriven(letter: AbstractIncomingMessage) -> int:
    told = letter.headers.get("redriven")
    return told if isinstance(told, int) else 0


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
                await letter.nack()  # 4.3 does not count it.


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
        fresh = [letter for letter in held if redriven(letter) < TRIES]
        sending = [letter for letter in fresh if chosen(letter)][:most]
        for letter in sending:
            # A copy with the same id: the receiver knows by it what it has
            # done before. Confirmed before the letter goes.
            mark = {"redriven": redriven(letter) + 1}
            await forward(channel, QUEUE, letter, mark)
            await letter.ack()
            await asyncio.sleep(1 / rate)
    return len(sending)


async def main() -> None:
    async with connect() as channel:
        await declare_queue(channel, QUEUE, {})
        # No limit for the dead: on 4.0, each look is a delivery.
        await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
        for number, why in enumerate(("codec", "codec", "disk", "codec")):
            await publish(
                channel,
                DEAD,
                json.dumps({"video": f"{number}.mp4"}).encode(),
                headers={"reason": why},
                message_id=f"m-{number}",
            )
        print("dead:", await triage(channel))
        # The codec is repaired: send one, look, and then the others.
        for most in (1, 100):
            sent = await redrive(
                channel, lambda one: reason(one) == "codec", 50, most
            )
            print(f"sent back {sent}, left: {await triage(channel)}")


if __name__ == "__main__":
    run(main)
