# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2", "psycopg[binary]>=3.3"]
# ///
"""Transactional outbox to MQTT 5: an event for each committed upload."""

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
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC, RECEIVER, ID = "videos", "thumbnailer", "message-id"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the events are gone
NOBODY = 0x10  # "confirmed", but no session took it; failures are above it
DATABASE = os.environ.get(
    "DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
BATCH = 10  # events that a crash may publish again
CONFIRM_SECONDS = 10.0  # for a batch; a stuck broker must not hold locks
POLL_SECONDS = 0.1

CREATE = """
CREATE TABLE IF NOT EXISTS video (name text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text NOT NULL, written timestamptz NOT NULL DEFAULT now())"""
VIDEO = "INSERT INTO video VALUES (%s)"
EVENT = "INSERT INTO outbox (event) VALUES (%s)"
# No SKIP LOCKED: a second relay waits, and no event overtakes another.
NEXT = "SELECT id, event FROM outbox ORDER BY id LIMIT %s FOR UPDATE"
DELETE = "DELETE FROM outbox WHERE id = ANY(%s)"

Row = tuple[int, str]  # the message id, and the event
Handler = Callable[[str, str], Awaitable[None]]
Publish = Callable[[Sequence[Row]], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]
Kind = TypeVar("Kind", MQTTMessage, ReasonCode)


@asynccontextmanager
async def connect(name: str = "") -> AsyncIterator[tuple[Client, Reports]]:
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
    client.on_disconnect = lambda _c, _u, _flags, reason, _p: report(reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: report(reasons[0])
    client.on_publish = lambda _c, _u, _id, reason, _p: report(reason)
    client.on_message = lambda _c, _u, message: report(message)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS if name else 0
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    place = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        client.connect, *place, clean_start=not name, properties=properties
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
        if isinstance(report, ReasonCode) and report.value >= NOBODY:
            raise ConnectionError(f"MQTT server: {report}")
        if isinstance(report, kind):
            return report


async def declare() -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    async with connect(RECEIVER) as (client, reports):
        client.subscribe(TOPIC, qos=1)
        await expect(ReasonCode, reports)


async def upload(videos: Sequence[str]) -> None:
    async with await AsyncConnection.connect(DATABASE) as db:
        for video in videos:
            await db.execute(VIDEO, [video])
            await db.execute(EVENT, [f"uploaded {video}"])
            await db.commit()  # both rows, or none


@asynccontextmanager
async def publisher() -> AsyncIterator[Publish]:
    async with connect() as (client, reports):

        async def publish(rows: Sequence[Row]) -> None:
            for number, event in rows:
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [(ID, str(number))]
                client.publish(TOPIC, event, qos=1, properties=properties)
            for _ in rows:
                await expect(ReasonCode, reports)

        yield publish


async def relay(limit: int | None = None) -> None:
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        done = 0
        while limit is None or done < limit:
            moved = await _move(db, publish)
            await db.commit()
            done += moved
            if not moved:
                await asyncio.sleep(POLL_SECONDS)


async def _move(db: AsyncConnection, publish: Publish) -> int:
    """Publish a batch and delete it; the caller commits."""
    rows = await (await db.execute(NEXT, [BATCH])).fetchall()
    if rows:
        async with asyncio.timeout(CONFIRM_SECONDS):
            await publish(rows)  # before the delete: repeat, rather than lose
        await db.execute(DELETE, [[number for number, _ in rows]])
    return len(rows)


async def receive(handle: Handler, limit: int | None = None) -> None:
    async with connect(RECEIVER) as (client, reports):
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            named = getattr(message.properties, "UserProperty", [])
            # Any bytes: a bad event must not stop the receiver.
            event = message.payload.decode(errors="surrogateescape")
            await handle(event, dict(named).get(ID, ""))
            client.ack(message.mid, message.qos)


async def main() -> None:
    await declare()
    await upload(["cat.mp4", "dog.mp4"])
    try:
        await upload(["cat.mp4"])
    except UniqueViolation:
        print("a second cat.mp4 was rolled back, and its event with it")
    async with (
        publisher() as publish,
        await AsyncConnection.connect(DATABASE) as db,
    ):
        await _move(db, publish)
        await db.rollback()  # as PostgreSQL does when a relay dies
    print("a relay published, and died before its commit")
    await relay(limit=2)

    async def show(event: str, message_id: str) -> None:
        print(f"message {message_id}: {event}")

    await receive(show, limit=4)


if __name__ == "__main__":
    asyncio.run(main())
