# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Notifications on RabbitMQ: fan-out by preference, once, and in time."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
EVENTS, EXPIRED, FAILED = "premieres", "expired", "failed"
PREFERENCES = {"ana": "phone", "ben": "mail", "eva": "phone", "kim": None}
# Where the senders remember what they sent. In production: their database.
SENT = sqlite3.connect(":memory:")
SENT.execute("CREATE TABLE sent (notice text PRIMARY KEY)")

Audience = Callable[[str], Iterable[str]]


async def declare(channel: AbstractChannel) -> None:
    for name in (EXPIRED, FAILED):
        await channel.declare_queue(
            name, durable=True, arguments={"x-queue-type": "quorum"}
        )
    for name, dead in (EVENTS, FAILED), ("mail", FAILED), ("phone", EXPIRED):
        await channel.declare_queue(
            name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                # What nobody sent in time, or what has failed 21 times, is
                # there. Without these two it would vanish without a trace.
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead,
            },
        )


async def publish(
    channel: AbstractChannel,
    queue: str,
    body: str,
    notice: str,
    seconds: float | None = None,
) -> None:
    message = Message(
        body.encode(),
        message_id=notice,
        expiration=seconds,
        delivery_mode=DeliveryMode.PERSISTENT,
    )
    # Waits for the confirm; raises if there is no such queue.
    await channel.default_exchange.publish(
        message, routing_key=queue, mandatory=True
    )


async def fan_out(audience: Audience, phone_seconds: float = 60) -> None:
    """Turn one event into a notice for each follower who wants one."""
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue(EVENTS)
        async with queue.iterator() as events:
            event = await anext(events)
        video = event.body.decode()
        for user in audience(video):
            if not (way := PREFERENCES[user]):
                continue  # muted
            # The same id when a crash makes all of this run again.
            notice = f"{event.message_id}/{user}"
            # Nobody wants "starts now" an hour late. A mail may wait.
            limit = phone_seconds if way == "phone" else None
            await publish(channel, way, f"{user}: {video}", notice, limit)
        await event.ack()  # after the last notice is confirmed


async def send(way: str, count: int) -> None:
    """Send what waits in one queue, each notice once."""
    async with await connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(way)
        for _ in range(count):
            message = await queue.get(timeout=30)
            notice = [message.message_id]
            look = SENT.execute("SELECT 1 FROM sent WHERE notice = ?", notice)
            if look.fetchone():
                print(f"{way}: {message.message_id} again, dropped")
            else:
                print(f"{way}: {message.body.decode()}")
                # A crash right here sends twice: pass the id on, if the
                # provider takes one.
                with SENT:
                    SENT.execute("INSERT INTO sent VALUES (?)", notice)
            await message.ack()


async def main() -> None:
    def crash(_: str) -> Iterable[str]:
        yield from ("ana", "ben")
        raise RuntimeError

    def everyone(_: str) -> Iterable[str]:
        yield from PREFERENCES

    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await declare(channel)
        await publish(channel, EVENTS, "cat.mp4 starts now", "event-1")
        try:
            await fan_out(crash)
        except RuntimeError:
            print("fan-out: crashed after two of three notices")
        await fan_out(everyone)
        await send("phone", 3)
        await send("mail", 2)

        await publish(channel, EVENTS, "dog.mp4 starts now", "event-2")
        await fan_out(everyone, phone_seconds=0.001)  # nobody sends meanwhile
        async with (await channel.get_queue(EXPIRED)).iterator() as missed:
            for _ in range(2):
                message = await anext(missed)
                print(f"expired: {message.body.decode()}")
                await message.ack()
        await send("mail", 1)


if __name__ == "__main__":
    asyncio.run(main())
