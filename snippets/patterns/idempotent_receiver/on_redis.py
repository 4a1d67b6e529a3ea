# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on Redis Streams: a view counts once."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from redis.asyncio import Redis

import inbox
from inbox import refused, views
from redis_client import Worker, add, connect, create_group, run

CHANNEL, RECEIVERS = "views", "counter"
KEEP = 100_000  # events; receivers that fall further behind lose the oldest
LEASE = 2_000  # ms until a silent receiver's view goes on; usual: 30_000

Handler = Callable[[str], Awaitable[None]]


async def declare(redis: Redis) -> None:
    await create_group(redis, CHANNEL, RECEIVERS)
    async with inbox.connect() as db:
        await inbox.create_tables(db)


async def publish(redis: Redis, events: Sequence[tuple[str, str]]) -> None:
    # The entry's own id is new each time: it can't tell a duplicate.
    entries = [
        (CHANNEL, {"id": message_id, "event": event.encode()})
        for message_id, event in events
    ]
    await add(redis, entries, KEEP)


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    done = 0
    async with connect() as redis, inbox.connect() as db:
        # It takes what a receiver has left that never comes back, too. Two
        # that have the same view do no harm: so no lease is renewed here.
        channel = Worker(redis, CHANNEL, RECEIVERS, receiver, LEASE)
        while limit is None or done < limit:
            for number, fields in await channel.take():
                body = fields.get("event", "").encode(errors="surrogateescape")
                await handle(
                    await inbox.count_once(db, fields.get("id", ""), body)
                )
                # After the commit: a crash in between repeats, not loses.
                await redis.xack(CHANNEL, RECEIVERS, number)
                done += 1


async def main() -> None:
    async def crash(what: str) -> None:
        raise RuntimeError(what)

    async def show(what: str) -> None:
        print(f"A {what}")

    async with connect() as redis, inbox.connect() as db:
        await declare(redis)
        # Made once, before the first try: a retry has to send the same id.
        view = str(uuid4()), "viewed cat.mp4"
        await publish(redis, [view, view])  # Its confirm got lost.
        try:
            await receive("A", crash)
        except RuntimeError as error:
            print(f"A {error}, and crashed before it acknowledged")
        await receive("A", show, limit=2)
        second = str(uuid4()), "viewed cat.mp4"
        await publish(redis, [("17", "viewed cat.mp4"), second])
        await receive("A", show, limit=2)
        print(f"views: {await views(db)}, refused: {len(await refused(db))}")


if __name__ == "__main__":
    run(inbox.with_database(main))
