# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""IoT telemetry on MQTT 5: last values, presence, and no gap in between."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
AWAY_SECONDS = 24 * 3600  # the collector may be away for that long

Reports = asyncio.Queue[MQTTMessage | ReasonCode]
Kind = TypeVar("Kind", MQTTMessage, ReasonCode)


@asynccontextmanager
async def connect(
    name: str, expiry: int = 0, presence: str = ""
) -> AsyncIterator[tuple[Client, Reports]]:
    """Run a client in its thread, and bring what it reports over to us."""
    loop = asyncio.get_running_loop()
    reports: Reports = asyncio.Queue()

    def report(what: MQTTMessage | ReasonCode) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,  # a lost connection raises
        manual_ack=True,  # else paho acknowledges before the handler ran
    )
    client.on_connect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: report(reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: report(reason)
    client.on_message = lambda _c, _u, message: report(message)
    if presence:  # the server says it, when the device no longer can
        client.will_set(presence, "offline", qos=1, retain=True)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = expiry
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    host, port = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        lambda: client.connect(
            host,
            port,
            keepalive=20,  # a silent device is offline after 30 s
            clean_start=not expiry,
            properties=properties,
        )
    )
    client.loop_start()
    try:
        await expect(ReasonCode, reports)
        yield client, reports
    finally:
        client.disconnect()  # a goodbye: the server drops the will
        await asyncio.to_thread(client.loop_stop)


async def expect(kind: type[Kind], reports: Reports) -> Kind:
    """Wait for a message, or for the server's answer to a request."""
    while True:
        report = await reports.get()
        if isinstance(report, ReasonCode) and report.is_failure:
            raise ConnectionError(f"MQTT server: {report}")
        if isinstance(report, kind):
            return report


async def put(
    client: Client, reports: Reports, topic: str, value: str
) -> None:
    client.publish(topic, value, qos=1, retain=True)
    await expect(ReasonCode, reports)


async def show(who: str, client: Client, reports: Reports, count: int) -> None:
    for _ in range(count):
        message = await expect(MQTTMessage, reports)
        kind = "last value" if message.retain else "new"
        print(f"{who}: {message.topic} {message.payload.decode()} ({kind})")
        client.ack(message.mid, message.qos)


async def main() -> None:
    async with connect("collector", AWAY_SECONDS) as (client, reports):
        client.subscribe("cameras/+/celsius", qos=1)
        await expect(ReasonCode, reports)

    alive = "cameras/gate/alive"
    async with connect("gate", presence=alive) as (camera, answers):
        await put(camera, answers, alive, "online")
        for celsius in ("41", "42", "43"):
            await put(camera, answers, "cameras/gate/celsius", celsius)

        async with connect("dashboard") as (client, reports):
            # Not QoS 1: of its last values, Mosquitto drops all above 1000.
            client.subscribe("cameras/+/alive", qos=0)
            client.subscribe("cameras/+/celsius", qos=0)
            await show("dashboard", client, reports, 2)
            # The camera's power fails: no goodbye, the connection breaks.
            await asyncio.to_thread(camera.loop_stop)
            if connection := camera.socket():
                connection.close()
            await show("dashboard", client, reports, 1)

    async with connect("second") as (client, reports):
        client.subscribe("cameras/+/alive", qos=0)
        await show("second dashboard", client, reports, 1)

    async with connect("collector", AWAY_SECONDS) as (client, reports):
        await show("collector, back", client, reports, 3)


if __name__ == "__main__":
    asyncio.run(main())
