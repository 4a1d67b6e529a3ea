# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Event-driven services on RabbitMQ: a saga that undoes what it has done."""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Callable

from aio_pika import DeliveryMode, ExchangeType, Message, connect
from aio_pika.abc import AbstractChannel, AbstractQueue

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
EVENTS, DEAD = "premieres", "premieres.dead"
KEPT: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
# What has failed 21 times waits for a person. Without these, it is dropped.
TRIED = KEPT | {
    "x-delivery-limit": 20,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
# By service and event: what it does, what it tells, and what if it can't.
SAGA = {
    "studio": {
        "booked": ("reserve", "reserved", "cancelled"),
        "declined": ("release", "cancelled", ""),
        "refunded": ("release", "cancelled", ""),
    },
    "billing": {
        "reserved": ("charge", "charged", "declined"),
        "refused": ("refund", "refunded", ""),
    },
    "catalogue": {"charged": ("announce", "announced", "refused")},
}
UNDONE_BY = {"reserve": "release", "charge": "refund", "announce": ""}
# One database a service. In production: a file, or a server.
DATA = {service: sqlite3.connect(":memory:") for service in SAGA}
CREATE = "CREATE TABLE step (video, action, ok, UNIQUE (video, action))"
for database in DATA.values():
    database.execute(CREATE)
Step = Callable[[str, str], bool]


async def inbox(
    channel: AbstractChannel, name: str, *events: str
) -> AbstractQueue:
    await channel.declare_exchange(EVENTS, ExchangeType.TOPIC, durable=True)
    await channel.declare_queue(DEAD, durable=True, arguments={**KEPT})
    queue = await channel.declare_queue(
        f"{EVENTS}.{name}", durable=True, arguments={**TRIED}
    )
    for event in events:
        await queue.bind(EVENTS, event)
    return queue


async def tell(channel: AbstractChannel, event: str, video: str) -> None:
    exchange = await channel.get_exchange(EVENTS)
    message = Message(video.encode(), delivery_mode=DeliveryMode.PERSISTENT)
    # mandatory: no event of a saga may be without somebody who hears it.
    await exchange.publish(message, routing_key=event, mandatory=True)


def decide(service: str, video: str, action: str, step: Step) -> bool:
    """Do a step once. How it went is kept: a repetition says the same."""
    with DATA[service] as db:
        asked = "SELECT ok FROM step WHERE video = ? AND action = ?"
        if row := db.execute(asked, (video, action)).fetchone():
            return bool(row[0])
        ok = step(video, action)
        if not ok and action in UNDONE_BY.values():
            raise RuntimeError(f"in its {action}")  # not decided: comes again
        db.execute("INSERT INTO step VALUES (?, ?, ?)", (video, action, ok))
        return ok


async def serve(service: str, step: Step, crash: set[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.set_qos(prefetch_count=1)
        queue = await inbox(channel, service, *SAGA[service])
        async with queue.iterator() as messages:
            async for message in messages:
                video = message.body.decode()
                event = message.routing_key or ""
                action, then, otherwise = SAGA[service][event]
                ok = decide(service, video, action, step)
                if f"{action} {video}" in crash:
                    crash.remove(f"{action} {video}")
                    raise RuntimeError(f"after its {action}")  # nobody told
                await tell(channel, then if ok else otherwise, video)
                await message.ack()  # only now: until here it comes again


async def keep_up(service: str, step: Step, crash: set[str]) -> None:
    while True:
        try:
            await serve(service, step, crash)
        except RuntimeError as error:
            print(f"{service} dies {error}, and starts again")


def in_force(video: str) -> list[str]:
    """Return what was done for a video and has not been undone."""
    sql = "SELECT action FROM step WHERE video = ? AND ok"
    done = {row[0] for db in DATA.values() for row in db.execute(sql, [video])}
    return [a for a in UNDONE_BY if a in done and UNDONE_BY[a] not in done]


async def main() -> None:
    fails = {"reserve fox.mp4", "charge dog.mp4", "announce owl.mp4"}
    crash = {"charge cat.mp4", "refund owl.mp4"}
    times: Counter[str] = Counter()

    def step(video: str, action: str) -> bool:
        times[f"{action} {video}"] += 1
        return f"{action} {video}" not in fails

    async with await connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        for service, reactions in SAGA.items():
            await inbox(channel, service, *reactions)
        ends = await inbox(channel, "ends", "announced", "cancelled")
        services = [asyncio.create_task(keep_up(s, step, crash)) for s in SAGA]
        async with ends.iterator() as ended:
            for video in ("cat.mp4", "fox.mp4", "dog.mp4", "owl.mp4"):
                await tell(channel, "booked", video)
                async for message in ended:
                    await message.ack()
                    if message.body.decode() == video:  # an end may come twice
                        break
                print(video, message.routing_key, in_force(video))
        print(f"{len(times)} steps, each done {max(times.values())} time")
        for task in services:
            task.cancel()
        await asyncio.gather(*services, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
