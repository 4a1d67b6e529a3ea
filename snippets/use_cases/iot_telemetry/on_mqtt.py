# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""IoT telemetry on MQTT 5: last values, presence, and no gap in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import mqtt_session
from mqtt_session import Session, connect, run

DAY = 24 * 3600  # the collector may be away for that many seconds


@asynccontextmanager
async def device(name: str) -> AsyncIterator[Session]:
    """Connect a device, which is online until its connection ends."""
    alive = f"{name}/alive"
    # The server says "offline" of it: when it is silent for 30 s, when its
    # connection breaks, and when it leaves.
    async with mqtt_session.connect(name, will=alive) as session:
        await put(session, alive, "online")
        yield session


async def put(session: Session, topic: str, value: str) -> None:
    """Publish a value, and leave it there for those who come later."""
    await session.publish(topic, value, retain=True)


async def collect(limit: int | None = None) -> None:
    """Take every value, also those of the time when nobody collected."""
    async with connect("collector", DAY) as session:
        # Again: a server that was killed may have forgotten the session.
        await session.subscribe("cameras/+/celsius")
        await show("collector", session, limit)


async def show(who: str, session: Session, limit: int | None) -> None:
    async for message in session.messages(limit):
        kind = "last value" if message.retain else "new"
        value = message.payload.decode(errors="replace")
        print(f"{who}: {message.topic} {value} ({kind})")
        session.ack(message)


async def main() -> None:
    await collect(limit=0)  # from now on its session is there

    async with device("cameras/gate") as camera:
        for celsius in ("41", "42", "43"):
            await put(camera, "cameras/gate/celsius", celsius)

        async with connect("dashboard") as dashboard:
            # Not QoS 1: of its last values, Mosquitto drops all above 1000.
            await dashboard.subscribe("cameras/+/alive", qos=0)
            await dashboard.subscribe("cameras/+/celsius", qos=0)
            await show("dashboard", dashboard, 2)
            # The camera's power fails: no goodbye, the connection breaks.
            if connection := camera.client.socket():
                connection.close()
            await show("dashboard", dashboard, 1)

    async with connect("second") as dashboard:
        await dashboard.subscribe("cameras/+/alive", qos=0)
        await show("second dashboard", dashboard, 1)

    await collect(limit=3)


if __name__ == "__main__":
    run(main)
