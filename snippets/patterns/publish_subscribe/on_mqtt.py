# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Publish-subscribe on MQTT 5: a session keeps a subscriber's events."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC = "videos"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone

Handler = Callable[[str], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]
Kind = TypeVar("Kind", MQTTMessage, ReasonCode)


@asynccontextmanager
async def connect(
    client_id: str = "",
) -> AsyncIterator[tuple[Client, Reports]]:
    """Run a client in its thread, and bring what it reports over to us."""
    loop = asyncio.get_running_loop()
    reports: Reports = asyncio.Queue()

    def report(what: MQTTMessage | ReasonCode) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,  # a lost connection raises
        manual_ack=True,  # else paho acknowledges before the handler ran
    )
    client.on_connect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_disconnect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: report(reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: report(reason)
    client.on_message = lambda _c, _u, message: report(message)
    # A client with a name takes up its session again, and leaves it there.
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS if client_id else 0
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    host, port = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        lambda: client.connect(
            host, port, clean_start=not client_id, properties=properties
        )
    )
    client.loop_start()
    try:
        await expect(ReasonCode, reports)
        yield client, reports
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def expect(kind: type[Kind], reports: Reports) -> Kind:
    """Wait for a message, or for the server's answer to a request."""
    while True:
        report = await reports.get()
        if isinstance(report, ReasonCode) and report.is_failure:
            raise ConnectionError(f"MQTT server: {report}")
        if isinstance(report, kind):
            return report


async def subscribe(subscriber: str) -> None:
    async with connect(subscriber) as (client, reports):
        client.subscribe(TOPIC, qos=1)
        await expect(ReasonCode, reports)


async def publish(events: Sequence[str]) -> None:
    async with connect() as (client, reports):
        for event in events:
            client.publish(TOPIC, event, qos=1)
        for _ in events:
            await expect(ReasonCode, reports)


async def receive(
    subscriber: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(subscriber) as (client, reports):
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            # Any bytes: a bad event must not stop the receiver.
            event = message.payload.decode(errors="surrogateescape")
            await handle(event)
            client.ack(message.mid, message.qos)


async def main() -> None:
    def printer(subscriber: str) -> Handler:
        async def show(event: str) -> None:
            print(f"{subscriber}: {event}")

        return show

    await subscribe("thumbnailer")
    await subscribe("notifier")
    await publish(["uploaded cat.mp4", "uploaded dog.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=2)
    print("notifier is away")
    await publish(["uploaded owl.mp4"])
    await receive("thumbnailer", printer("thumbnailer"), limit=1)
    print("notifier is back")
    await receive("notifier", printer("notifier"), limit=3)


if __name__ == "__main__":
    asyncio.run(main())
