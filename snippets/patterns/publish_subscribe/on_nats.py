# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Publish-subscribe on NATS JetStream: every subscriber gets every event."""

from collections.abc import Awaitable, Callable, Sequence

from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy

from nats_client import SECONDS, connect, consume, declare_log, run, text

CHANNEL = "videos"
KEEP = 7 * 24 * 3600.0  # seconds; who is away for longer loses events
ACK_WAIT = 2.0  # seconds until an unacknowledged event comes again; usual: 30

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await declare_log(jetstream, CHANNEL, KEEP)


async def subscribe(jetstream: JetStreamContext, subscriber: str) -> None:
    await declare(jetstream)
    await jetstream.add_consumer(
        CHANNEL,
        durable_name=subscriber,  # the server keeps its place by this name
        deliver_policy=DeliverPolicy.NEW,
        ack_wait=ACK_WAIT,
    )


async def publish(jetstream: JetStreamContext, events: Sequence[str]) -> None:
    await declare(jetstream)
    for event in events:  # connection.publish() would not wait
        await jetstream.publish(CHANNEL, event.encode())


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(subscriber) as jetstream:
        async for message in consume(jetstream, CHANNEL, subscriber, limit):
            await handle(text(message))
            await message.ack_sync(SECONDS)


async def main() -> None:
    async with connect() as jetstream:

        def printer(subscriber: str) -> Handler:
            async def show(event: str) -> None:
                print(f"{subscriber}: {event}")

            return show

        await subscribe(jetstream, "thumbnailer")
        await subscribe(jetstream, "notifier")
        await publish(jetstream, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=2)
        print("notifier is away")
        await publish(jetstream, ["uploaded owl.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=1)
        print("notifier is back")
        await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    run(main)
