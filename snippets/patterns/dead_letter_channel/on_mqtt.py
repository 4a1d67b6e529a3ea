# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Dead letter channel on MQTT 5: each dead letter is a retained message."""

import json
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from paho.mqtt.client import MQTTMessage

from mqtt_session import Session, connect, run

TOPIC, DEAD = "transcode", "dead/transcode"  # each letter's topic is below
LIMIT, WEEK = 3, 7 * 24 * 3600  # attempts; seconds that a session waits
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with connect("A", WEEK) as session:  # The work queue says why.
        await session.subscribe(TOPIC)


async def submit(client: Session, messages: Sequence[str]) -> None:
    for body in messages:
        if not await client.publish(TOPIC, body):
            raise LookupError("no session takes it: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker, WEEK) as session:
        await session.subscribe(TOPIC)  # a killed server may have forgotten
        async for message in session.messages(limit):
            for number in range(1, LIMIT + 1):  # a crash forgets them
                video = ""
                try:
                    video = str(json.loads(message.payload)["video"])
                    await handle(video)
                    break
                except Exception as error:
                    if number == LIMIT or not video:
                        await bury(session, message, error, number)
                        break
            session.ack(message)


async def bury(
    session: Session, message: MQTTMessage, error: object, tried: int
) -> None:
    topic, body = f"{DEAD}/{uuid4()}", message.payload
    why = [("reason", repr(error)[:200]), ("tried", str(tried))]
    await session.publish(topic, body, True, message, UserProperty=why)


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found, end = [], f"{DEAD}/{uuid4()}"
    async with connect() as client:
        await client.subscribe(f"{DEAD}/+", qos=0)  # With QoS 1, 1000 come.
        await client.publish(end)  # It comes after all that is retained.
        async for letter in client.messages(seconds=10):
            client.ack(letter)
            if letter.topic == end:
                break
            body = letter.payload.decode(errors="surrogateescape")
            why = dict(getattr(letter.properties, "UserProperty", []))
            reason, tried = why.get("reason", "?"), why.get("tried", "0")
            found.append((body, reason, int(tried)))
            if redrive:
                if not await client.publish(TOPIC, body, copied=letter):
                    raise LookupError("no session takes it: call declare()")
                await client.publish(letter.topic, retain=True)  # clears it
    return found


async def main() -> None:
    await declare()
    async with connect() as client:
        await submit(client, MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    run(main)
