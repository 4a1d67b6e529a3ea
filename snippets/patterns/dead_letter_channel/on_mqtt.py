# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Dead letter channel on MQTT 5: each dead letter is a retained message."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC, DEAD = "transcode", "dead/transcode"  # below DEAD: a topic a letter
LIMIT, NOBODY = 3, 0x10  # attempts; "confirmed", but no session took it
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]
Handler = Callable[[str], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]


@asynccontextmanager
async def connect(name: str = "") -> AsyncIterator[tuple[Client, Reports]]:
    """Run a client in its thread, and bring what it reports over to us."""
    reports = Reports()
    tell: Any = asyncio.get_running_loop().call_soon_threadsafe
    us = reports.put_nowait
    v2, v5 = CallbackAPIVersion.VERSION2, MQTTProtocolVersion.MQTTv5
    client = Client(v2, name, protocol=v5, manual_ack=True)
    client.on_connect = lambda _c, _u, _flags, reason, _p: tell(us, reason)
    client.on_disconnect = lambda _c, _u, _flags, reason, _p: tell(us, reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: tell(us, reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: tell(us, reason)
    client.on_message = lambda _c, _u, message: tell(us, message)
    wish = Properties(PacketTypes.CONNECT)
    wish.SessionExpiryInterval = 7 * 24 * 3600 if name else 0
    wish.ReceiveMaximum = 1  # nothing comes between us and an answer
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    where = URL.hostname or "localhost", URL.port or 1883, 60, "", 0
    await asyncio.to_thread(client.connect, *where, not name, wish)
    client.loop_start()
    try:
        await expect(ReasonCode, reports)
        yield client, reports
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def expect(kind: type, reports: Reports) -> Any:
    while True:
        match await reports.get():
            case ReasonCode(is_failure=True) as code:
                raise ConnectionError(f"MQTT server: {code}")
            case report if isinstance(report, kind):
                return report


async def declare() -> None:
    async with connect("A") as (client, reports):  # more: see work queue
        client.subscribe(TOPIC, qos=1)
        await expect(ReasonCode, reports)


async def submit(messages: Sequence[str]) -> None:
    async with connect() as (client, reports):
        for body in messages:
            client.publish(TOPIC, body.encode(errors="surrogateescape"), qos=1)
            if (await expect(ReasonCode, reports)).value == NOBODY:
                raise LookupError("no session takes it: call declare() first")


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    async with connect(worker) as (client, reports):
        for _ in range(limit) if limit else count():
            message = await expect(MQTTMessage, reports)
            # All attempts at once: a worker that dies has not counted.
            for number in range(1, LIMIT + 1):
                video = ""
                try:
                    video = str(json.loads(message.payload)["video"])
                    await handle(video)
                    break
                except Exception as error:
                    if number == LIMIT or not video:
                        bury(client, message.payload, error, number)
                        await expect(ReasonCode, reports)
                        break
            client.ack(message.mid, message.qos)


def bury(client: Client, body: bytes, error: object, number: int) -> None:
    why = Properties(PacketTypes.PUBLISH)
    why.UserProperty = [("reason", repr(error)[:200]), ("tried", f"{number}")]
    client.publish(f"{DEAD}/{uuid4()}", body, 1, retain=True, properties=why)


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found, end = [], f"{DEAD}/{uuid4()}"
    async with asyncio.timeout(10), connect() as (client, reports):
        client.subscribe(f"{DEAD}/+", qos=1)
        client.publish(end, qos=1)  # comes after all that is retained
        while (letter := await expect(MQTTMessage, reports)).topic != end:
            body = letter.payload.decode(errors="surrogateescape")
            why = dict(letter.properties.UserProperty)
            found.append((body, why["reason"], int(why["tried"])))
            client.ack(letter.mid, letter.qos)
            if redrive:
                await submit([body])
                client.publish(letter.topic, qos=1, retain=True)  # clears it
    return found


async def main() -> None:
    await declare()
    await submit(MESSAGES)
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
    asyncio.run(main())
