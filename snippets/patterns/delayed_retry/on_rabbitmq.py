# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Delayed retry on RabbitMQ: a queue for each delay."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random

from aio_pika.abc import AbstractChannel

import rabbitmq_client as rabbitmq
from rabbitmq_client import connect, declare_queue, open_consumer, publish, run

QUEUE, DEAD = "transcode", "transcode.dead"
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
STEPS = 5  # in each range: what failed together comes in five groups
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]
Handler = Callable[[str], Awaitable[None]]


def steps(low: float, high: float) -> list[float]:
    return [round(low + (high - low) * n / STEPS, 3) for n in range(STEPS)]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(steps(*DELAYS[attempt - 1]))


PAUSES = [pause for low, high in DELAYS for pause in steps(low, high)]
# In one queue for all, a short delay would wait behind a long one.
WAITS = {pause: f"{QUEUE}.wait.{pause}" for pause in PAUSES}


async def declare(channel: AbstractChannel) -> None:
    # This queue has no limit: 4.0 would drop what was looked at 22 times.
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    await declare_queue(channel, QUEUE, rabbitmq.dead_letters_to(DEAD))
    for wait in WAITS.values():  # what expires there is dead there: it moves
        await declare_queue(channel, wait, rabbitmq.dead_letters_to(QUEUE))


async def submit(channel: AbstractChannel, messages: Sequence[str]) -> None:
    for body in messages:  # It may be any bytes.
        raw = body.encode(errors="surrogateescape")
        await publish(channel, QUEUE, raw, headers={"attempt": 1})


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    async with open_consumer(QUEUE, 1, worker) as (channel, messages):
        async for message in messages:
            number, video = 1, ""
            try:
                number = int(str(message.headers.get("attempt", 1)))
                video = str(json.loads(message.body)["video"])
                await handle(video)
                settled += 1
            except Exception:
                to, pause = DEAD, 0.0  # It is malformed: no attempt helps.
                if video and 0 < number < LIMIT:
                    pause = delay(number, RANDOM)
                    to, number = WAITS[pause], number + 1
                else:
                    settled += 1
                note = {"attempt": number, "origin": QUEUE}
                # A copy, with the id, the trace and the headers it had.
                await rabbitmq.forward(channel, to, message, note, pause)
            if settled and settled == limit:
                await messages.close()  # Else another one comes.
            await message.ack()  # A crash repeats it, and loses nothing.


async def dead(channel: AbstractChannel) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    found = []
    for letter in await rabbitmq.look(channel, DEAD):
        told = letter.headers.get("attempt")
        attempts = told if isinstance(told, int) else 1
        found.append((rabbitmq.text(letter), attempts))
        await letter.nack(requeue=True)  # 4.3 does not count it.
    return found


async def main() -> None:
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    async with connect() as channel:
        await declare(channel)
        await submit(channel, MESSAGES)
        await work("A", transcode, limit=3)
        for (low, _), wait in zip(DELAYS, pairwise(times), strict=True):
            print(f"waited {low} s or more: {wait[1] - wait[0] >= low}")
        print("dead:", *await dead(channel))


if __name__ == "__main__":
    run(main)
