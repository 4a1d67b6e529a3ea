# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on JetStream: a view counts once, however often sent."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import nats
from nats.js.api import StorageType
from psycopg import AsyncConnection

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
CHANNEL, RECEIVERS = "views", "counter"
KEEP = 7 * 24 * 3600.0  # seconds; a receiver that is away longer loses views
ACK_WAIT = 2.0  # seconds until a silent receiver's view goes on; usual: 30
# In Nats-Msg-Id the stream would look at it too, for 2 minutes. Set both:
# here the inbox is to show that it can do without.
ID = "message-id"
DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = os.environ.get("DATABASE_URL", DEFAULT)
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

CREATE = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    # The client would try for 2 minutes before it says that it can't.
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(
            name=CHANNEL,
            subjects=[CHANNEL],
            max_age=KEEP,
            storage=StorageType.FILE,  # fsynced every 2 minutes by default
        )
        await jetstream.add_consumer(
            CHANNEL, durable_name=RECEIVERS, ack_wait=ACK_WAIT
        )


async def publish(events: Sequence[tuple[str, str]]) -> None:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        for message_id, event in events:  # each waits for its confirm
            await jetstream.publish(
                CHANNEL, event.encode(), headers={ID: message_id}
            )


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with (
        await nats.connect(URL, name=receiver) as connection,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        jetstream = connection.jetstream()
        events = await jetstream.pull_subscribe_bind(RECEIVERS, CHANNEL)
        done = 0
        while limit is None or done < limit:
            try:
                [message] = await events.fetch(timeout=1)
            except TimeoutError:
                continue  # nothing was published
            message_id = (message.headers or {}).get(ID, "")
            what = await _once(db, message_id, message.data)
            await db.commit()  # the view and its id, or neither
            await handle(what)
            # After the commit: a crash in between repeats, rather than loses.
            await message.ack_sync()  # returns when the server has it
            done += 1


async def _once(db: AsyncConnection, message_id: str, body: bytes) -> str:
    """Count a view and remember its id; the caller commits both, or none."""
    try:
        number, view = UUID(message_id), VIEWED.fullmatch(body)
    except ValueError:
        view = None
    if not view:  # it would fail each time: keep it, and go on
        await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
        return f"refused a message with id {message_id!r}"
    # Another receiver that has just inserted this id makes us wait for it.
    new = await db.execute(REMEMBER, [number])
    if not new.rowcount:
        return f"dropped a duplicate view of {view[1].decode()}"
    await db.execute(COUNT, [view[1].decode()])
    return f"counted a view of {view[1].decode()}"


async def views() -> dict[str, int]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT video, count FROM views")
        return {row[0]: row[1] for row in await rows.fetchall()}


async def refused() -> list[str]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT message FROM refused ORDER BY 1")
        return [row[0] for row in await rows.fetchall()]


async def main() -> None:
    await declare()
    # Made once, before the first try: a retry has to send the same id.
    view = str(uuid4()), "viewed cat.mp4"
    await publish([view, view])  # its confirm got lost: tried again

    async def crash(what: str) -> None:
        raise RuntimeError(what)

    try:
        await receive("A", crash)
    except RuntimeError as error:
        print(f"A {error}, and crashed before it acknowledged")

    async def show(what: str) -> None:
        print(f"A {what}")

    await receive("A", show, limit=2)
    await publish([("17", "viewed cat.mp4"), (str(uuid4()), "viewed cat.mp4")])
    await receive("A", show, limit=2)
    print(f"views: {await views()}, refused: {len(await refused())}")


if __name__ == "__main__":
    asyncio.run(main())
