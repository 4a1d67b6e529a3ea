# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on MQTT 5: a view counts once, however often sent."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import inbox
from inbox import refused, views
from mqtt_session import Session, connect, run

TOPIC, SHARED, ID = "views", "$share/counter/views", "message-id"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the views are gone

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with inbox.connect() as db:
        await inbox.create_tables(db)
    async with connect("A", SESSION_SECONDS) as session:
        await session.subscribe(SHARED)  # Its session must be there.


async def publish(client: Session, events: Sequence[tuple[str, str]]) -> None:
    for message_id, event in events:
        named, body = [(ID, message_id)], event.encode()
        if not await client.publish(TOPIC, body, UserProperty=named):
            raise LookupError("no session takes it: call declare() first")


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with (
        connect(receiver, SESSION_SECONDS) as session,
        inbox.connect() as db,
    ):
        # Again: Mosquitto 2.0 restores a session without what it shares.
        await session.subscribe(SHARED)
        async for message in session.messages(limit):
            named = dict(getattr(message.properties, "UserProperty", []))
            # Not message.mid: that number is used again for other messages.
            number, body = named.get(ID, ""), bytes(message.payload)
            await handle(await inbox.count_once(db, number, body))
            # After the commit: a crash in between repeats, rather than loses.
            session.ack(message)


async def main() -> None:
    await declare()
    async with connect() as client, inbox.connect() as db:
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(client, [view, view])  # Its confirm got lost.

        async def crash(what: str) -> None:
            raise RuntimeError(what)

        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")

        async def show(what: str) -> None:
            print(f"A {what}")

        await receive("A", show, limit=2)
        second = str(uuid4()), "viewed cat.mp4"
        await publish(client, [("17", "viewed cat.mp4"), second])
        await receive("A", show, limit=2)
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(inbox.with_database(main))
