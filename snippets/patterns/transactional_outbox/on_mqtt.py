# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to MQTT 5: an event for each committed upload."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from psycopg.errors import UniqueViolation

import outbox
from mqtt_session import Session, connect, run
from outbox import Row, upload

TOPIC, RECEIVER, ID = "videos", "thumbnailer", "message-id"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone

Handler = Callable[[str, str], Awaitable[None]]


async def declare() -> None:
    async with outbox.connect() as db:
        await outbox.create_tables(db)
    async with connect(RECEIVER, SESSION_SECONDS) as session:
        await session.subscribe(TOPIC)


def publisher(client: Session) -> outbox.Publish:
    async def publish(rows: Sequence[Row]) -> None:
        confirms = [
            client.publish(TOPIC, event, UserProperty=[(ID, str(number))])
            for number, event in rows
        ]
        if not all(await asyncio.gather(*confirms)):
            raise LookupError("no session takes it: call declare() first")

    return publish


async def relay(client: Session, limit: int | None = None) -> None:
    async with outbox.connect() as db:
        await outbox.relay(db, publisher(client), limit)


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with connect(RECEIVER, SESSION_SECONDS) as session:
        # Again: a server that was killed may have forgotten the session.
        await session.subscribe(TOPIC)
        async for message in session.messages(limit):
            named = dict(getattr(message.properties, "UserProperty", []))
            # Any bytes: a bad event must not stop the receiver.
            event = message.payload.decode(errors="surrogateescape")
            await handle(event, named.get(ID, ""))
            session.ack(message)


async def main() -> None:
    await declare()
    async with connect() as client, outbox.connect() as db:
        await upload(db, ["cat.mp4", "dog.mp4"])
        try:
            await upload(db, ["cat.mp4"])
        except UniqueViolation:
            print("a second cat.mp4 was rolled back, and its event with it")

        async with db.transaction(force_rollback=True):
            await outbox.move(db, publisher(client))
        print("a relay published, and died before its commit")
        await relay(client, limit=2)

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=4)


if __name__ == "__main__":
    run(outbox.with_database(main))
