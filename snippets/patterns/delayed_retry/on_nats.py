# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Delayed retry on NATS: a negative acknowledgement with a delay."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random

from nats.js import JetStreamContext

import nats_client
from nats_client import SECONDS, connect, consume, declare_queue, forward, run

QUEUE, DEAD, WORKERS = "transcode", "transcode-dead", "workers"
ACK_WAIT = 30  # seconds; longer than any task, or renew it (work queue)
WAITING = 100_000  # tasks; usual: 1000, and then nothing is delivered
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


async def declare(jetstream: JetStreamContext) -> None:
    await declare_queue(jetstream, QUEUE, WORKERS, ACK_WAIT, WAITING)
    await jetstream.add_stream(name=DEAD, subjects=[DEAD])  # It has no limit.


async def submit(jetstream: JetStreamContext, messages: Sequence[str]) -> None:
    for body in messages:
        await nats_client.send(jetstream, QUEUE, body)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    async with connect(worker) as jetstream:
        async for message in consume(jetstream, QUEUE, WORKERS):
            number = message.metadata.num_delivered
            video = ""
            try:
                if number > LIMIT:  # its workers died, or were too slow
                    raise TimeoutError("no answer to the last attempt")
                video = str(json.loads(message.data)["video"])
                await handle(video)
            except Exception:
                if video and number < LIMIT:
                    # Without a delay, it comes again at once.
                    await message.nak(delay=delay(number, RANDOM))
                    continue
                # Malformed: at once, as no attempt can help.
                attempt = str(min(number, LIMIT))
                await forward(jetstream, DEAD, message, Attempt=attempt)
            await message.ack_sync(SECONDS)  # A crash repeats it.
            settled += 1
            if settled == limit:
                return


async def dead(jetstream: JetStreamContext) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    found = []
    async for letter in nats_client.look(jetstream, DEAD):
        attempt = (letter.headers or {}).get("Attempt", "0")
        found.append((nats_client.text(letter), int(attempt)))
    return found


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        times = []

        async def transcode(video: str) -> None:
            if video == "dog":
                times.append(time.monotonic())
                if len(times) < LIMIT:
                    raise ConnectionError("the store is away")
            print(f"transcoded {video}")

        await submit(jetstream, MESSAGES)
        await work("A", transcode, limit=3)
        waits = [this - last for last, this in pairwise(times)]
        for (low, _), wait in zip(DELAYS, waits, strict=True):
            print(f"waited {low} s or more: {wait >= low}")
        print("dead:", *await dead(jetstream))


if __name__ == "__main__":
    run(main)
