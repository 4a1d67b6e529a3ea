# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Topic router on MQTT 5: topic filters with wildcards choose the sessions."""

from collections.abc import Awaitable, Callable, Sequence

from mqtt_session import Session, connect, run

SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone
EVENTS = [
    ("video/transcoded/de", "cat.mp4"),
    ("video/transcoded/en/4k", "dog.mp4"),
    ("video/uploaded/de", "bee.mp4"),
    ("video/deleted/en", "owl.mp4"),
]

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    async with connect(receiver, SESSION_SECONDS) as session:
        for pattern in patterns:  # the session keeps those it had
            await session.subscribe(pattern)


async def publish(
    client: Session, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    for key, body in events:
        if not await client.publish(key, body):
            unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver, SESSION_SECONDS) as session:
        if not session.present:  # a killed server may have forgotten it
            raise LookupError(f"no session {receiver!r}: call subscribe()")
        async for message in session.messages(limit):
            body = message.payload.decode(errors="surrogateescape")
            await handle(message.topic, body)
            session.ack(message)


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video/+/de"])
    await subscribe("player", ["video/transcoded/#"])
    async with connect() as client:
        print(f"nobody wants: {await publish(client, EVENTS)}")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    run(main)
