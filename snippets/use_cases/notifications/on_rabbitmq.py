# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Notifications on RabbitMQ: fan-out by preference, once, and in time."""

import sqlite3
from collections.abc import Callable, Iterable

from aio_pika.abc import AbstractChannel

from rabbitmq_client import (
    connect,
    dead_letters_to,
    declare_queue,
    open_consumer,
    run,
)
from rabbitmq_client import publish as publish_one

EVENTS, EXPIRED, FAILED = "premieres", "expired", "failed"
PREFERENCES = {"ana": "phone", "ben": "mail", "eva": "phone", "kim": None}
# Where the senders remember what they sent. In production: their database.
SENT = sqlite3.connect(":memory:")
SENT.execute("CREATE TABLE sent (notice text PRIMARY KEY)")

Audience = Callable[[str], Iterable[str]]


async def declare(channel: AbstractChannel) -> None:
    for name in (EXPIRED, FAILED):
        # No limit: 4.0 would drop what was looked at 22 times.
        await declare_queue(channel, name, {"x-delivery-limit": -1})
    for name, dead in (EVENTS, FAILED), ("mail", FAILED), ("phone", EXPIRED):
        # What nobody sent in time, or what has failed 21 times, is there;
        # else it would vanish without a trace.
        await declare_queue(channel, name, dead_letters_to(dead))


async def publish(
    channel: AbstractChannel,
    queue: str,
    body: str,
    notice: str,
    seconds: float | None = None,
) -> None:
    await publish_one(
        channel, queue, body.encode(), message_id=notice, expiration=seconds
    )


async def fan_out(audience: Audience, phone_seconds: float = 60) -> None:
    """Turn one event into a notice for each follower who wants one."""
    async with open_consumer(EVENTS) as (channel, events):
        async for event in events:
            video = event.body.decode()
            for user in audience(video):
                if not (way := PREFERENCES[user]):
                    continue  # It is muted.
                # The same id when a crash makes all of this run again.
                notice = f"{event.message_id}/{user}"
                # Nobody wants "starts now" an hour late. A mail may wait.
                limit = phone_seconds if way == "phone" else None
                await publish(channel, way, f"{user}: {video}", notice, limit)
            await events.close()  # Else the ack brings another one.
            await event.ack()  # The last notice is confirmed.


async def send(way: str, count: int) -> None:
    """Send what waits in one queue, each notice once."""
    async with open_consumer(way) as (_, messages):
        async for message in messages:
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
            count -= 1
            if not count:
                await messages.close()  # Else the ack brings another one.
            await message.ack()


async def main() -> None:
    def crash(_: str) -> Iterable[str]:
        yield from ("ana", "ben")
        raise RuntimeError

    def everyone(_: str) -> Iterable[str]:
        yield from PREFERENCES

    async with connect() as channel:
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
        await fan_out(everyone, phone_seconds=0.001)  # Nobody sends now.
        missed = await channel.get_queue(EXPIRED)
        async with missed.iterator(timeout=30) as messages:
            for _ in range(2):
                message = await anext(messages)
                print(f"expired: {message.body.decode()}")
                await message.ack()
        await send("mail", 1)


if __name__ == "__main__":
    run(main)
