# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Publish-subscribe on NATS JetStream: every subscriber gets every event."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

import nats
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, StorageType

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
CHANNEL = "videos"
KEEP = 7 * 24 * 3600.0  # seconds; who is away for longer loses events
ACK_WAIT = 2.0  # seconds until an unacknowledged event comes again; usual: 30

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(
        name=CHANNEL,
        subjects=[CHANNEL],
        max_age=KEEP,
        storage=StorageType.FILE,  # fsynced every 2 minutes by default
    )


async def subscribe(subscriber: str) -> None:
    # The client would try for 2 minutes before it says that it can't.
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await declare(jetstream)
        await jetstream.add_consumer(
            CHANNEL,
            durable_name=subscriber,  # the server keeps its place by this name
            deliver_policy=DeliverPolicy.NEW,
            ack_wait=ACK_WAIT,
        )


async def publish(events: Sequence[str]) -> None:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await declare(jetstream)
        for event in events:  # connection.publish() would not wait
            await jetstream.publish(CHANNEL, event.encode())


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with await nats.connect(URL, name=subscriber) as connection:
        jetstream = connection.jetstream()
        events = await jetstream.pull_subscribe_bind(subscriber, CHANNEL)
        done = 0
        while limit is None or done < limit:
            try:
                [message] = await events.fetch(timeout=1)
            except TimeoutError:
                continue  # nothing was published
            # Any bytes: a bad event must not stop the receiver.
            event = message.data.decode(errors="surrogateescape")
            await handle(event)
            await message.ack_sync()  # returns when the server has it
            done += 1


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
