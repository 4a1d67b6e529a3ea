# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Delayed retry on the minibroker: a queue for each delay."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, pairwise
from math import inf
from random import Random

from minibroker import Broker

BROKER = Broker()  # lives in this process, and dies with it
QUEUE, DEAD = "transcode", "dead"
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]

Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(DELAYS[attempt - 1])  # more choices spread finer


# In one queue for all, a short delay would wait behind a long one.
WAITS = {pause: f"wait.{pause}" for pause in chain(*DELAYS)}


async def declare() -> None:
    BROKER.declare(DEAD)
    BROKER.declare(QUEUE, dead_letters=DEAD)
    for name in WAITS.values():  # what has expired there goes back
        BROKER.declare(name, dead_letters=QUEUE)


async def submit(messages: Sequence[str]) -> None:
    for body in messages:
        publish(QUEUE, body)


def publish(
    queue: str, body: str, attempt: int = 1, pause: float = inf
) -> None:
    note = {"attempt": str(attempt)}
    if queue not in BROKER.publish(queue, body, pause, **note):
        raise LookupError(f"no queue for {body!r}: call declare() first")


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    with BROKER.consume(QUEUE, worker) as consumer:
        async for delivery in consumer:
            body, number, video = delivery.message.body, 1, ""
            try:
                number = int(delivery.message.headers.get("attempt", "1"))
                video = str(json.loads(body)["video"])
                await handle(video)
                settled += 1
            except Exception:
                if video and 0 < number < LIMIT:
                    pause = delay(number, RANDOM)
                    publish(WAITS[pause], body, number + 1, pause)
                else:  # malformed: at once, as no attempt can help
                    publish(DEAD, body, number)
                    settled += 1
            delivery.ack()  # last: a crash repeats it, and loses nothing
            if 0 < limit == settled:
                return


async def dead() -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    letters = [letter.message for letter in BROKER.find(DEAD).ready]
    return [(one.body, int(one.headers["attempt"])) for one in letters]


async def main() -> None:
    await declare()
    RANDOM.seed(4)  # only so that each run takes the same queues
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(MESSAGES)
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
