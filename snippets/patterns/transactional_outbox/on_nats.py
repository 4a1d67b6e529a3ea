# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to NATS JetStream: the stream drops repetitions."""

from collections.abc import Awaitable, Callable, Sequence

from nats.js import JetStreamContext
from psycopg.errors import UniqueViolation

import outbox
from nats_client import SECONDS, connect, consume, declare_log, run, text
from outbox import upload

CHANNEL, RECEIVER = "videos", "thumbnailer"
KEEP = 7 * 24 * 3600.0  # seconds; a receiver that is away longer loses events
REMEMBER = 120.0  # seconds for which the stream knows a message id

Handler = Callable[[str, str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    async with outbox.connect() as db:
        await outbox.create_tables(db)
    await declare_log(jetstream, CHANNEL, KEEP, duplicate_window=REMEMBER)
    await jetstream.add_consumer(
        CHANNEL,
        durable_name=RECEIVER,
        max_ack_pending=1,  # an event that failed is not overtaken
    )


def publisher(jetstream: JetStreamContext) -> outbox.Publish:
    async def publish(rows: Sequence[outbox.Row]) -> None:
        for number, event in rows:  # each waits for its confirm
            await jetstream.publish(
                CHANNEL,
                event.encode(),
                headers={"Nats-Msg-Id": str(number)},
            )

    return publish


async def relay(jetstream: JetStreamContext, limit: int | None = None) -> None:
    async with outbox.connect() as db:
        await outbox.relay(db, publisher(jetstream), limit)


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with connect(RECEIVER) as jetstream:
        async for message in consume(jetstream, CHANNEL, RECEIVER, limit):
            message_id = (message.headers or {}).get("Nats-Msg-Id", "")
            await handle(text(message), message_id)
            await message.ack_sync(SECONDS)


async def main() -> None:
    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    async with connect() as jetstream, outbox.connect() as db:
        await declare(jetstream)
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")
        # As PostgreSQL does when a relay dies.
        async with db.transaction(force_rollback=True):
            await outbox.move(db, publisher(jetstream))
        print("a relay published, and died before its commit")
        await relay(jetstream, limit=2)
    await receive(show, limit=2)


if __name__ == "__main__":
    run(outbox.with_database(main))
