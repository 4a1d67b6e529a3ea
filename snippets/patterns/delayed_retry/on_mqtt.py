# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Delayed retry on MQTT 5, which has none: the worker waits, and all do."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count, pairwise
from random import Random
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
DELAYS = (0.2, 0.3), (0.4, 0.6)  # seconds after each try; usual: minutes
LIMIT, RANDOM = len(DELAYS) + 1, Random()  # attempts
MESSAGES = ['{"video": "dog"}', '{"video": "cat"}', "video=owl"]
Handler = Callable[[str], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]


def delay(attempt: int, random: Random) -> float:
    """Wait longer each time, and not for as long as all the others do."""
    return random.uniform(*DELAYS[attempt - 1])


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
            if (await expect(ReasonCode, reports)).value == 0x10:
                raise LookupError("no session takes it: call declare() first")


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    async with connect(worker) as (client, reports):
        for _ in range(limit) if limit else count():
            message = await expect(MQTTMessage, reports)
            # A worker that dies has not counted, and forgets what is due.
            for number in range(1, LIMIT + 1):
                video = ""
                try:
                    video = str(json.loads(message.payload)["video"])
                    await handle(video)
                    break
                except Exception:
                    if number == LIMIT or not video:
                        letter = f"{DEAD}/{number}/{uuid4()}"
                        client.publish(letter, message.payload, 1, True)
                        await expect(ReasonCode, reports)
                        break
                    # Not acknowledged yet: what follows has to wait, too.
                    await asyncio.sleep(delay(number, RANDOM))
            client.ack(message.mid, message.qos)


async def dead() -> list[tuple[str, int]]:
    found, end = [], f"{DEAD}/0/{uuid4()}"  # each body, and its attempts
    async with asyncio.timeout(10), connect() as (client, reports):
        client.subscribe(f"{DEAD}/#", qos=1)
        client.publish(end, qos=1)  # comes after all that is retained
        while (letter := await expect(MQTTMessage, reports)).topic != end:
            body = letter.payload.decode(errors="surrogateescape")
            found.append((body, int(letter.topic.split("/")[-2])))
            client.ack(letter.mid, letter.qos)
    return found


async def main() -> None:
    await declare()
    times = []

    async def transcode(video: str) -> None:
        if video == "dog":
            times.append(time.monotonic())
            if len(times) < LIMIT:
                raise ConnectionError("the store is away")
        print(f"transcoded {video}")

    await submit(MESSAGES)
    await work("A", transcode, limit=3)
    for (low, _), (last, this) in zip(DELAYS, pairwise(times), strict=True):
        print(f"waited {low} s or more: {this - last >= low}")
    print("dead:", *await dead())


if __name__ == "__main__":
    asyncio.run(main())
