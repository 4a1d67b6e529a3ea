# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Mosquitto confirms every message, and drops what a session can't hold."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC, LAST = "uploads", "last"
EVENTS = 1_100
HOUR = 3600

Reports = asyncio.Queue[MQTTMessage | ReasonCode]


@asynccontextmanager
async def connect(name: str) -> AsyncIterator[tuple[Client, Reports]]:
    loop = asyncio.get_running_loop()
    reports: Reports = asyncio.Queue()

    def report(what: MQTTMessage | ReasonCode) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: report(reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: report(reason)
    client.on_message = lambda _c, _u, message: report(message)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = HOUR
    host, port = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        lambda: client.connect(
            host, port, clean_start=False, properties=properties
        )
    )
    client.loop_start()
    try:
        yield client, reports
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def main() -> None:
    async with connect("notifier") as (client, reports):
        client.subscribe(TOPIC, qos=1)
        print("notifier subscribed:", await reports.get())
    print("notifier is away")

    async with connect("uploader") as (client, reports):
        for number in range(1, EVENTS + 1):
            client.publish(TOPIC, str(number), qos=1)
        answers = [await reports.get() for _ in range(EVENTS)]
        print(f"published {EVENTS}, each answered:", *set(map(str, answers)))

    async with connect("notifier") as (client, reports):
        numbers = []
        client.subscribe(LAST, qos=1)
        client.publish(LAST, "", qos=1)  # comes back behind all the others
        while True:
            message = await reports.get()
            if isinstance(message, MQTTMessage):
                client.ack(message.mid, message.qos)
                if message.topic == LAST:
                    break
                numbers.append(int(message.payload))
    print(f"notifier got {len(numbers)}: {numbers[0]} to {numbers[-1]}")


if __name__ == "__main__":
    asyncio.run(main())
