# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Delayed retry on NATS: a negative acknowledgement with a delay."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random
from uuid import uuid4

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy

from nats_client import SECONDS, connect, consume, forward

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
    await jetstream.add_stream(
        name=QUEUE,
        subjects=[QUEUE],
        retention=RetentionPolicy.WORK_QUEUE,
    )
    await jetstream.add_stream(name=DEAD, subjects=[DEAD])  # no limit
    await jetstream.add_consumer(
        QUEUE,
        durable_name=WORKERS,
        ack_wait=ACK_WAIT,
        max_ack_pending=WAITING,
    )


async def submit(jetstream: JetStreamContext, messages: Sequence[str]) -> None:
    for body in messages:
        raw = body.encode(errors="surrogateescape")  # any bytes
        own = {"Nats-Msg-Id": str(uuid4())}
        await jetstream.publish(QUEUE, raw, headers=own)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # done or dead
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
            await message.ack_sync(SECONDS)  # last: a crash repeats it
            settled += 1
            if settled == limit:
                return


async def dead(jetstream: JetStreamContext) -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    found = []
    letters = await jetstream.subscribe(DEAD, ordered_consumer=True)
    for _ in range((await jetstream.stream_info(DEAD)).state.messages):
        letter = await letters.next_msg(timeout=5)
        body = letter.data.decode(errors="surrogateescape")
        found.append((body, int((letter.headers or {})["Attempt"])))
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
        for (low, _), (last, this) in zip(
            DELAYS, pairwise(times), strict=True
        ):
            print(f"waited {low} s or more: {this - last >= low}")
        print("dead:", *await dead(jetstream))


if __name__ == "__main__":
    asyncio.run(main())
