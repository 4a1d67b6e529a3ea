# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Delayed retry on the minibroker: a queue for each delay."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain, pairwise
from random import Random

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
QUEUE, DEAD = "transcode", "dead"
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
# In one queue for all, a short delay would wait behind a long one.
WAITS = {pause: f"wait.{pause}" for pause in chain(*DELAYS)}
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(DELAYS[attempt - 1])  # more choices spread finer


async def declare() -> None:
    BROKER.declare(DEAD)
    BROKER.declare(QUEUE, dead_letters=DEAD)
    for name in WAITS.values():  # what has expired there goes back
        BROKER.declare(name, dead_letters=QUEUE)


async def submit(messages: Sequence[str]) -> None:
    for body in messages:
        publish(QUEUE, body, {})


def publish(
    to: str, body: str, headers: Mapping[str, str], pause: float = 1e9
) -> None:
    if to not in BROKER.publish(to, body, pause, **headers):
        raise LookupError(f"no queue for {body!r}: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    with BROKER.consume(QUEUE, worker) as consumer:
        async for delivery in consumer:
            body, number, video = delivery.message.body, 1, ""
            headers = delivery.message.headers  # each copy carries them
            try:
                number = int(headers.get("attempt", "1"))
                video = str(json.loads(body)["video"])
                await handle(video)
                settled += 1
            except Exception:
                if video and 0 < number < LIMIT:
                    pause = delay(number, RANDOM)
                    again = {**headers, "attempt": str(number + 1)}
                    publish(WAITS[pause], body, again, pause)
                else:  # It is malformed: no attempt can help.
                    publish(DEAD, body, {**headers, "attempt": str(number)})
                    settled += 1
            delivery.ack()  # A crash repeats it, and loses nothing.
            if settled == limit:
                return


async def dead() -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    found = [letter.message for letter in BROKER.find(DEAD).ready]
    return [(each.body, int(each.headers["attempt"])) for each in found]


async def main() -> None:
    RANDOM.seed(4)  # Each run of main() takes the same queues.
    await declare()
    times: list[float] = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(['{"video": "dog"}', '{"video": "cat"}', "video=owl"])
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
