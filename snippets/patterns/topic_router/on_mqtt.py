# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Topic router on MQTT 5: topic filters with wildcards choose the sessions."""

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
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone
NOBODY = 0x10  # the reason code "No matching subscribers"

Handler = Callable[[str, str], Awaitable[None]]
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


async def subscribe(receiver: str, patterns: Sequence[str]) -> None:
    async with connect(receiver) as (client, reports):
        for pattern in patterns:  # the session keeps those it had
            client.subscribe(pattern, qos=1)
            await expect(ReasonCode, reports)


async def publish(events: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return the keys of the events that nobody gets."""
    unheard = []
    async with connect() as (client, reports):
        for key, body in events:
            client.publish(key, body, qos=1)
            if (await expect(ReasonCode, reports)).value == NOBODY:
                unheard.append(key)
    return unheard


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver) as (client, reports):
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            body = message.payload.decode(errors="surrogateescape")
            await handle(message.topic, body)
            client.ack(message.mid, message.qos)


async def main() -> None:
    def printer(receiver: str) -> Handler:
        async def show(key: str, body: str) -> None:
            print(f"{receiver}: {key} {body}")

        return show

    await subscribe("german", ["video/+/de"])
    await subscribe("player", ["video/transcoded/#"])
    unheard = await publish(
        [
            ("video/transcoded/de", "cat.mp4"),
            ("video/transcoded/en/4k", "dog.mp4"),
            ("video/uploaded/de", "bee.mp4"),
            ("video/deleted/en", "owl.mp4"),
        ]
    )
    print(f"nobody wants: {unheard}")
    await receive("german", printer("german"), limit=2)
    await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    asyncio.run(main())
