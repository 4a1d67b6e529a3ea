# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Delayed retry on RabbitMQ: a queue for each delay."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, pairwise
from random import Random

from aio_pika import DeliveryMode, Message, connect

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
QUEUE, DEAD = "transcode", "transcode.dead"
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT = len(DELAYS) + 1  # attempts
RANDOM = Random()
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]
Handler = Callable[[str], Awaitable[None]]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.choice(DELAYS[attempt - 1])  # more choices spread finer


# In one queue for all, a short delay would wait behind a long one.
WAITS = {pause: f"{QUEUE}.wait.{pause}" for pause in chain(*DELAYS)}


async def declare() -> None:
    # What expires in a queue for waiting, or kills worker after worker in
    # QUEUE, moves on, and is kept until the next queue has confirmed it.
    to_next = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once asks for it
    }
    async with await connect(URL) as connection:
        channel = await connection.channel()
        # No limit: it would drop what was looked at 22 times.
        kept = {"x-queue-type": "quorum"} | {"x-delivery-limit": -1}
        await channel.declare_queue(DEAD, durable=True, arguments={**kept})
        for name in (QUEUE, *WAITS.values()):
            target = DEAD if name == QUEUE else QUEUE
            args = {**to_next, "x-dead-letter-routing-key": target}
            await channel.declare_queue(name, durable=True, arguments={**args})


async def submit(messages: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            await channel.default_exchange.publish(
                noted(raw, 1), routing_key=QUEUE, mandatory=True
            )


def noted(body: bytes, attempt: int, pause: float | None = None) -> Message:
    return Message(
        body,
        headers={"attempt": attempt},
        delivery_mode=DeliveryMode.PERSISTENT,
        expiration=pause,  # seconds, for the server in milliseconds
    )


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    settled = 0  # done or dead
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue(QUEUE)
        ends: list[asyncio.Task[None]] = []  # or a deleted queue would hang it
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        async with queue.iterator(consumer_tag=worker) as messages:
            async for message in messages:
                body, number, video = message.body, 1, ""
                try:
                    number = int(str(message.headers.get("attempt", 1)))
                    video = str(json.loads(body)["video"])
                    await handle(video)
                    settled += 1
                except Exception:
                    if video and 0 < number < LIMIT:
                        pause = delay(number, RANDOM)
                        letter = noted(body, number + 1, pause)
                        to = WAITS[pause]
                    else:  # malformed: at once, as no attempt can help
                        to, letter = DEAD, noted(body, number)
                        settled += 1
                    # Confirmed; without its queue, it raises.
                    await channel.default_exchange.publish(
                        letter, routing_key=to, mandatory=True
                    )
                if 0 < limit == settled:
                    await messages.close()  # or another one comes
                await message.ack()  # last: a crash repeats, and loses nothing
    if not 0 < limit == settled:  # it ends quietly with its connection
        raise ConnectionError("RabbitMQ sends nothing any more")


async def dead() -> list[tuple[str, int]]:
    """Look at the dead letters: each body, and how often it was tried."""
    found = []
    async with await connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(DEAD, passive=True)
        count = queue.declaration_result.message_count or 0
        for letter in [await queue.get() for _ in range(count)]:
            body = letter.body.decode(errors="surrogateescape")
            found.append((body, int(str(letter.headers.get("attempt", 1)))))
            await letter.nack(requeue=True)
    return found


async def main() -> None:
    await declare()
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
