# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Partitioned consumers on MQTT 5: each topic has one client, for good."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit
from zlib import crc32

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
CHANNEL = "videos"  # keeps the number of its partitions, as a retained message
WORKERS = ("A", "B", "C")  # A's partition is videos/0, B's is videos/1
SESSION_SECONDS = 7 * 24 * 3600  # the tasks of a session end with it
NOBODY = 0x10  # "confirmed", but no session took it; failures are above it
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

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
        manual_ack=True,  # else paho acknowledges before the work
    )
    client.on_connect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_disconnect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: report(reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: report(reason)
    client.on_message = lambda _c, _u, message: report(message)
    # A client with a name takes up its session again, and leaves it there.
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS if client_id else 0
    properties.ReceiveMaximum = 1  # the rest waits at the server
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
    while True:
        report = await reports.get()
        if isinstance(report, ReasonCode) and report.value >= NOBODY:
            raise ConnectionError(f"MQTT server: {report}")
        if isinstance(report, kind):
            return report


async def declare(partitions: int = 2) -> None:
    for number in range(partitions):  # this disconnects a worker who is there
        async with connect(WORKERS[number]) as (client, reports):
            client.subscribe(f"{CHANNEL}/{number}", qos=1)
            await expect(ReasonCode, reports)
    async with connect() as (client, reports):
        client.subscribe(CHANNEL)  # or the answer would be NOBODY
        client.publish(CHANNEL, str(partitions), qos=1, retain=True)
        for _ in range(2):
            await expect(ReasonCode, reports)


async def submit(tasks: Sequence[tuple[str, str]]) -> None:
    # Mosquitto keeps 1000 per session, and confirms and drops what is more.
    async with connect() as (client, reports):
        client.subscribe(CHANNEL)
        async with asyncio.timeout(5):  # none comes before declare()
            partitions = int((await expect(MQTTMessage, reports)).payload)
        for key, task in tasks:
            # Not hash(): it gives each process another number for one key.
            number = crc32(key.encode()) % partitions
            client.publish(f"{CHANNEL}/{number}", task, qos=1)
            await expect(ReasonCode, reports)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker) as (client, reports):
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            task = message.payload.decode(errors="surrogateescape")
            await handle(task)
            client.ack(message.mid, message.qos)


async def main() -> None:
    await declare()
    await submit(TASKS[:4])
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    try:
        await work("A", note)
    except RuntimeError as error:
        print("A:", ", ".join(handled), "...", error)
    await submit(TASKS[4:])
    await work("B", note, limit=4)
    print("B:", ", ".join(handled[2:]))
    await work("A", note, limit=3)
    print("A:", ", ".join(handled[6:]))


if __name__ == "__main__":
    asyncio.run(main())
