# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Delayed retry on MQTT 5, which has none: the worker waits, and all do."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random
from uuid import uuid4

from mqtt_session import Session, connect, run

TOPIC, DEAD = "transcode", "dead/transcode"  # each letter's topic is below
WEEK = 7 * 24 * 3600  # seconds that a session waits for its worker
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT, RANDOM = len(DELAYS) + 1, Random()  # attempts

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


async def declare() -> None:
    async with connect("A", WEEK) as session:  # The work queue says why.
        await session.subscribe(TOPIC)


async def submit(client: Session, messages: Sequence[str]) -> None:
    for body in messages:
        if not await client.publish(TOPIC, body):
            raise LookupError("no session takes it: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker, WEEK) as session:
        await session.subscribe(TOPIC)  # a killed server may have forgotten
        async for message in session.messages(limit):
            # A worker that dies has not counted, and forgets what is due.
            body = message.payload
            for number in range(1, LIMIT + 1):
                video = ""
                try:
                    video = str(json.loads(body)["video"])
                    await handle(video)
                    break
                except Exception:
                    if number == LIMIT or not video:
                        letter = f"{DEAD}/{number}/{uuid4()}"
                        await session.publish(letter, body, True, message)
                        break
                # Not acknowledged yet: what follows has to wait, too.
                await asyncio.sleep(delay(number, RANDOM))
            session.ack(message)


async def dead() -> list[tuple[str, int]]:
    found, end = [], f"{DEAD}/0/{uuid4()}"  # It has body and attempts.
    async with connect() as client:
        await client.subscribe(f"{DEAD}/#", qos=0)  # With QoS 1, 1000 come.
        await client.publish(end)  # It comes after all that is retained.
        async for letter in client.messages(seconds=10):
            client.ack(letter)
            if letter.topic == end:
                break
            body = letter.payload.decode(errors="surrogateescape")
            tried = letter.topic.split("/")[-2]  # Others may name it so.
            found.append((body, int(tried) if tried.isdecimal() else 0))
    return found


async def main() -> None:
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await declare()
    async with connect() as client:
        tasks = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]
        await submit(client, tasks)
    await work("A", transcode, limit=3)
    waits = [this - last for last, this in pairwise(times)]
    for (low, _), wait in zip(DELAYS, waits, strict=True):
        print(f"waited {low} s or more: {wait >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    run(main)
