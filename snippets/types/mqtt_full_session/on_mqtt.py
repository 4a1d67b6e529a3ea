# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Mosquitto confirms every message, and drops what a session can't hold."""

import asyncio

from mqtt_session import connect, run

TOPIC, LAST = "uploads", "last"
EVENTS = 1_100
HOUR = 3600  # seconds that the session waits for its subscriber


async def main() -> None:
    async with connect("notifier", HOUR) as session:
        await session.subscribe(TOPIC)
        await session.subscribe(LAST)
    print("notifier is away")

    async with connect() as client:
        numbers = map(str, range(1, EVENTS + 1))
        publishing = (client.publish(TOPIC, number) for number in numbers)
        answers = await asyncio.gather(*publishing)
        print(f"published {EVENTS}, a session took {answers.count(True)}")

    got = []
    async with connect("notifier", HOUR, prefetch=20) as session:
        await session.publish(LAST)  # It comes back behind all others.
        async for message in session.messages(seconds=10):
            session.ack(message)
            if message.topic == LAST:
                break
            got.append(int(message.payload))
    print(f"notifier got {len(got)}: {got[0]} to {got[-1]}")


if __name__ == "__main__":
    run(main)
