# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Event-driven services on RabbitMQ: a saga that undoes what it has done."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable

from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractQueue

import rabbitmq_client
from rabbitmq_client import clock, connect, consume, declare_queue, run

EVENTS, DEAD = "premieres", "premieres.dead"
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
CREATE = "CREATE TABLE step (booking, action, ok, UNIQUE (booking, action))"
for database in DATA.values():
    database.execute(CREATE)
Step = Callable[[str, str], bool]


async def inbox(
    channel: AbstractChannel, name: str, *events: str
) -> AbstractQueue:
    await channel.declare_exchange(EVENTS, ExchangeType.TOPIC, durable=True)
    await declare_queue(channel, DEAD, {"x-delivery-limit": -1})
    # What has failed 21 times waits for a person; else it is dropped.
    tried = {"x-delivery-limit": 20, **rabbitmq_client.dead_letters_to(DEAD)}
    queue = await declare_queue(channel, f"{EVENTS}.{name}", tried)
    for event in events:
        await queue.bind(EVENTS, event)
    return queue


async def tell(channel: AbstractChannel, event: str, booking: str) -> None:
    exchange = await channel.get_exchange(EVENTS, ensure=False)
    body, disk = booking.encode(), DeliveryMode.PERSISTENT
    message = Message(body, correlation_id=booking, delivery_mode=disk)
    # It is mandatory: somebody has to hear each event of a saga.
    async with clock("confirm"):
        await exchange.publish(message, event, mandatory=True)


def decide(service: str, booking: str, action: str, step: Step) -> bool:
    """Do a step once. How it went is kept: a repetition says the same."""
    with DATA[service] as db:
        asked = "SELECT ok FROM step WHERE booking = ? AND action = ?"
        if row := db.execute(asked, (booking, action)).fetchone():
            return bool(row[0])
        ok = step(booking, action)
        if not ok and action in UNDONE_BY.values():
            raise RuntimeError(f"in its {action}")  # It comes again.
        db.execute("INSERT INTO step VALUES (?, ?, ?)", (booking, action, ok))
        return ok


async def serve(service: str, step: Step, crash: set[str]) -> None:
    async with connect() as channel:
        queue = await inbox(channel, service, *SAGA[service])
        async with consume(channel, queue.name) as messages:
            async for message in messages:
                booking, event = message.body.decode(), message.routing_key
                if event not in SAGA[service]:
                    await message.reject()  # It is no event of ours.
                    continue
                action, then, otherwise = SAGA[service][event]
                ok = decide(service, booking, action, step)
                if f"{action} {booking}" in crash:
                    crash.remove(f"{action} {booking}")
                    raise RuntimeError(f"after its {action}")  # nobody told
                await tell(channel, then if ok else otherwise, booking)
                await message.ack()  # Until here it would come again.


async def keep_up(service: str, step: Step, crash: set[str]) -> None:
    while True:
        try:
            await serve(service, step, crash)
        except RuntimeError as error:
            print(f"{service} dies {error}, and starts again")
        except Exception:  # RabbitMQ is away, for example
            logging.exception("%s starts again in a second", service)
            await asyncio.sleep(1)


def in_force(booking: str) -> list[str]:
    """Return what was done for a booking and has not been undone."""
    sql = "SELECT action FROM step WHERE booking = ? AND ok"
    rows = [row for db in DATA.values() for row in db.execute(sql, [booking])]
    done = {action for (action,) in rows}
    return [a for a in UNDONE_BY if a in done and UNDONE_BY[a] not in done]


async def main() -> None:
    # A saga is a booking: who cancels a film may book it once more.
    bookings = ("cat 1", "fox 1", "dog 1", "owl 1", "fox 2")
    fails = {"reserve fox 1", "charge dog 1", "announce owl 1"}
    crash = {"charge cat 1", "refund owl 1"}
    times: Counter[str] = Counter()

    def step(booking: str, action: str) -> bool:
        times[f"{action} {booking}"] += 1
        return f"{action} {booking}" not in fails

    async with connect() as channel:
        for service, reactions in SAGA.items():
            await inbox(channel, service, *reactions)
        ends = await inbox(channel, "ends", "announced", "cancelled")
        services = [asyncio.create_task(keep_up(s, step, crash)) for s in SAGA]
        async with ends.iterator() as ended:
            for booking in bookings:
                await tell(channel, "booked", booking)
                async for message in ended:
                    await message.ack()
                    if message.body.decode() == booking:  # it may come twice
                        break
                print(booking, message.routing_key, in_force(booking))
        print(f"{len(times)} steps, each done {max(times.values())} time")
        for task in services:
            task.cancel()
        await asyncio.gather(*services, return_exceptions=True)


if __name__ == "__main__":
    run(main)
