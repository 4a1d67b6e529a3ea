# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on RabbitMQ: a view counts once, however often sent."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from aio_pika.abc import AbstractChannel

import inbox
from inbox import refused, views
from rabbitmq_client import connect, open_consumer, run
from rabbitmq_client import publish as publish_one

QUEUE = "views"

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel) -> None:
    await channel.declare_queue(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
    )
    async with inbox.connect() as db:
        await inbox.create_tables(db)


async def publish(
    channel: AbstractChannel, events: Sequence[tuple[str, str]]
) -> None:
    for message_id, event in events:
        # Without an id, aio-pika makes one up, and each retry another one.
        await publish_one(
            channel, QUEUE, event.encode(), message_id=message_id
        )


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with (
        inbox.connect(receiver) as db,
        open_consumer(QUEUE, 1, receiver) as (_, messages),
    ):
        async for message in messages:
            number = message.message_id or ""
            await handle(await inbox.count_once(db, number, message.body))
            done += 1
            if done == limit:
                await messages.close()  # Else the ack brings another one.
            await message.ack()  # A crash before it repeats the event.


async def main() -> None:
    async def crash(what: str) -> None:
        raise RuntimeError(what)

    async def show(what: str) -> None:
        print(f"A {what}")

    async with connect() as channel, inbox.connect() as db:
        await declare(channel)
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(channel, [view, view])  # Its confirm got lost.
        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")
        await receive("A", show, limit=2)
        second = str(uuid4()), "viewed cat.mp4"
        await publish(channel, [("17", "viewed cat.mp4"), second])
        await receive("A", show, limit=2)
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(inbox.with_database(main))
