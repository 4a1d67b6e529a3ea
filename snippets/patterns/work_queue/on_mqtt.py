# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Work queue on MQTT 5: the workers' sessions at the server are the queue."""

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
TOPIC, SHARED = "transcode", "$share/workers/transcode"
WORKERS = ("A", "B")  # each task goes to one of their sessions, for good
SESSION_SECONDS = 7 * 24 * 3600  # the tasks of a session end with it
NOBODY = 0x10  # "confirmed", but no session took it; failures are above it
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]
Kind = TypeVar("Kind", MQTTMessage, ReasonCode)


@asynccontextmanager
async def connect(
    client_id: str = "", prefetch: int = 1
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
    properties.ReceiveMaximum = prefetch
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
        client.publish("leaving", qos=1).wait_for_publish(5)  # all has arrived
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def expect(kind: type[Kind], reports: Reports) -> Kind:
    """Wait for a message, or for the server's answer to a request."""
    while True:
        report = await reports.get()
        if isinstance(report, ReasonCode) and report.value >= NOBODY:
            raise ConnectionError(f"MQTT server: {report}")
        if isinstance(report, kind):
            return report


async def declare() -> None:
    for worker in WORKERS:  # once, as this disconnects a worker who is there
        async with connect(worker) as (client, reports):
            client.subscribe(SHARED, qos=1)
            await expect(ReasonCode, reports)


async def submit(tasks: Sequence[str]) -> None:
    # Mosquitto keeps 1000 per session, and confirms and drops what is more.
    async with connect() as (client, reports):
        for task in tasks:
            client.publish(TOPIC, task, qos=1)
        for _ in tasks:
            await expect(ReasonCode, reports)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker, prefetch) as (client, reports):
        # Again: Mosquitto 2.0 restores a session without what it shares.
        client.subscribe(SHARED, qos=1)
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            delivery = 2 if message.dup else 1  # MQTT has a flag, not a count
            # Any bytes: a bad task must not stop the worker.
            task = message.payload.decode(errors="surrogateescape")
            await handle(task, delivery)
            client.ack(message.mid, message.qos)


async def main() -> None:
    await declare()
    await submit(TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    asyncio.run(main())
