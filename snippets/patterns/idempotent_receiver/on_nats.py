# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on JetStream: a view counts once, however often sent."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from nats.js import JetStreamContext

import inbox
from inbox import refused, views
from nats_client import SECONDS, connect, consume, declare_log, run

CHANNEL, RECEIVERS = "views", "counter"
KEEP = 7 * 24 * 3600.0  # seconds; a receiver that is away longer loses views
ACK_WAIT = 2.0  # seconds until a silent receiver's view goes on; usual: 30
# In Nats-Msg-Id the stream would look at it too, for 2 minutes. Set both:
# here the inbox is to show that it can do without.
ID = "message-id"

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    async with inbox.connect() as db:
        await inbox.create_tables(db)
    await declare_log(jetstream, CHANNEL, KEEP)
    await jetstream.add_consumer(
        CHANNEL, durable_name=RECEIVERS, ack_wait=ACK_WAIT
    )


async def publish(
    jetstream: JetStreamContext, events: Sequence[tuple[str, str]]
) -> None:
    for message_id, event in events:  # each waits for its confirm
        await jetstream.publish(
            CHANNEL, event.encode(), headers={ID: message_id}
        )


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver) as jetstream, inbox.connect() as db:
        async for message in consume(jetstream, CHANNEL, RECEIVERS, limit):
            message_id = (message.headers or {}).get(ID, "")
            what = await inbox.count_once(db, message_id, message.data)
            await handle(what)
            # After the commit: a crash in between repeats, rather than loses.
            await message.ack_sync(SECONDS)


async def main() -> None:
    async def crash(what: str) -> None:
        raise RuntimeError(what)

    async def show(what: str) -> None:
        print(f"A {what}")

    async with connect() as jetstream, inbox.connect() as db:
        await declare(jetstream)
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(jetstream, [view, view])  # Its confirm got lost.
        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")
        await receive("A", show, limit=2)
        other = str(uuid4()), "viewed cat.mp4"
        await publish(jetstream, [("17", "viewed cat.mp4"), other])
        await receive("A", show, limit=2)
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(inbox.with_database(main))
