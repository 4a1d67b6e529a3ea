# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Publish-subscribe on MQTT 5: a session keeps a subscriber's events."""

from collections.abc import Awaitable, Callable, Sequence

from mqtt_session import Session, connect, run

TOPIC = "videos"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone

Handler = Callable[[str], Awaitable[None]]


async def subscribe(subscriber: str) -> None:
    async with connect(subscriber, SESSION_SECONDS) as session:
        await session.subscribe(TOPIC)


async def publish(client: Session, events: Sequence[str]) -> None:
    for event in events:
        await client.publish(TOPIC, event)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(subscriber, SESSION_SECONDS) as session:
        # Again: a server that was killed may have forgotten the session.
        await session.subscribe(TOPIC)
        async for message in session.messages(limit):
            # Any bytes: a bad event must not stop the receiver.
            event = message.payload.decode(errors="surrogateescape")
            await handle(event)
            session.ack(message)


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    await subscribe("thumbnailer")
    await subscribe("notifier")
    async with connect() as client:
        await publish(client, ["uploaded cat.mp4", "uploaded dog.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=2)
        print("notifier is away")
        await publish(client, ["uploaded owl.mp4"])
        await receive("thumbnailer", printer("thumbnailer"), limit=1)
        print("notifier is back")
        await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    run(main)
