# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""On MQTT four subscribers were away. What each gets when it is back."""

from mqtt_session import Session, connect, run

TOPIC, HOUR = "progress/cat.mp4", 3600


async def visit(name: str, expiry: int, qos: int | None = None) -> list[str]:
    """Connect, subscribe if asked to, and return what arrives."""
    texts, end = [], f"end/{name}"
    async with connect(name, expiry) as session:
        if qos is not None:
            await session.subscribe(TOPIC, qos)
        # Our own message comes back last: all before it is what we were owed.
        await session.subscribe(end)
        await session.publish(end)
        async for message in session.messages(seconds=10):
            session.ack(message)
            if message.topic == end:
                break
            texts.append(f"{message.payload.decode()} (QoS {message.qos})")
    return texts


async def publish(session: Session, text: str, retain: bool = False) -> None:
    await session.publish(TOPIC, text, retain)


async def main() -> None:
    await visit("no session", 0, qos=1)
    await visit("session, QoS 0", HOUR, qos=0)
    await visit("session, QoS 1", HOUR, qos=1)
    async with connect() as client:
        await publish(client, "50 %")
        await publish(client, "90 %", retain=True)
    print("no session:", await visit("no session", 0))
    print("session, QoS 0:", await visit("session, QoS 0", 0))
    print("session, QoS 1:", await visit("session, QoS 1", 0))
    print("newcomer:", await visit("newcomer", 0, qos=1))
    async with connect() as client:
        await publish(client, "", retain=True)  # It removes the retained one.


if __name__ == "__main__":
    run(main)
