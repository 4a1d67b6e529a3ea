# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Dead letter channel on the minibroker: what fails three times goes there."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
QUEUE, DEAD = "transcode", "transcode.dead"
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    BROKER.declare(DEAD)
    BROKER.declare(QUEUE, delivery_limit=LIMIT, dead_letters=DEAD)


async def submit(messages: Sequence[str]) -> None:
    for body in messages:
        if QUEUE not in BROKER.publish(QUEUE, body):
            raise LookupError(f"no queue for {body!r}: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    settled = 0  # It counts what is done or dead.
    with BROKER.consume(QUEUE, worker) as consumer:
        async for delivery in consumer:
            video = ""
            try:
                video = str(json.loads(delivery.message.body)["video"])
                await handle(video)
            except Exception:
                # Malformed: dead at once, as no attempt can help.
                delivery.nack(requeue=bool(video))
                if video and delivery.number < LIMIT:
                    continue  # at LIMIT, the queue makes it a dead letter
            else:
                delivery.ack()
            settled += 1
            if settled == limit:
                return


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    for letter in BROKER.find(DEAD).ready:  # looking is not consuming
        reason = letter.message.headers["death_reason"]
        # As on RabbitMQ, the number of attempts follows from the reason.
        attempts = LIMIT if reason == "delivery-limit" else 1
        found.append((letter.message.body, reason, attempts))
    if redrive:
        with BROKER.consume(DEAD, "operator") as operator:
            for _ in found:
                letter = await operator.inbox.get()
                back, its = letter.message.body, letter.message.headers
                BROKER.publish(QUEUE, back, 1e9, **its)
                letter.ack()  # A crash repeats it, and loses nothing.
    return found


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
