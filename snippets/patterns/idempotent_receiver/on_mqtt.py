# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2", "psycopg[binary]>=3.3"]
# ///
"""Idempotent receiver on MQTT 5: a view counts once, however often sent."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from psycopg import AsyncConnection

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC, SHARED, ID = "views", "$share/counter/views", "message-id"
SESSION_SECONDS = 7 * 24 * 3600  # away for longer, and the views are gone
NOBODY = 0x10  # "confirmed", but no session took it; failures are above it
DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
DATABASE = os.environ.get("DATABASE_URL", DEFAULT)
VIEWED = re.compile(rb"viewed ([\w.-]{1,100})")  # nothing else is let in

CREATE = """
CREATE TABLE IF NOT EXISTS inbox (
    id uuid PRIMARY KEY, received timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS views (
    video text PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    message text NOT NULL, received timestamptz NOT NULL DEFAULT now())"""
REMEMBER = "INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
INSERT INTO views VALUES (%s, 1)
ON CONFLICT (video) DO UPDATE SET count = views.count + 1"""
REFUSE = "INSERT INTO refused (message) VALUES (%s)"

Handler = Callable[[str], Awaitable[None]]
Reports = asyncio.Queue[MQTTMessage | ReasonCode]
Kind = TypeVar("Kind", MQTTMessage, ReasonCode)


@asynccontextmanager
async def connect(name: str = "") -> AsyncIterator[tuple[Client, Reports]]:
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
    async with await AsyncConnection.connect(DATABASE) as db:
        await db.execute(CREATE)
    async with connect("A") as (client, reports):  # its session must be there
        client.subscribe(SHARED, qos=1)
        await expect(ReasonCode, reports)


async def publish(events: Sequence[tuple[str, str]]) -> None:
    async with connect() as (client, reports):
        for message_id, event in events:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [(ID, message_id)]
            client.publish(TOPIC, event.encode(), 1, properties=properties)
        for _ in events:
            await expect(ReasonCode, reports)


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with (
        connect(receiver) as (client, reports),
        await AsyncConnection.connect(DATABASE) as db,
    ):
        # Again: Mosquitto 2.0 restores a session without what it shares.
        client.subscribe(SHARED, qos=1)
        for _ in count() if limit is None else range(limit):
            message = await expect(MQTTMessage, reports)
            named = dict(getattr(message.properties, "UserProperty", []))
            # Not message.mid: that number is used again for other messages.
            what = await _once(db, named.get(ID, ""), bytes(message.payload))
            await db.commit()  # the view and its id, or neither
            await handle(what)
            # After the commit: a crash in between repeats, rather than loses.
            client.ack(message.mid, message.qos)


async def _once(db: AsyncConnection, message_id: str, body: bytes) -> str:
    """Count a view and remember its id; the caller commits both, or none."""
    try:
        number, view = UUID(message_id), VIEWED.fullmatch(body)
    except ValueError:
        view = None
    if not view:  # it would fail each time: keep it, and go on
        await db.execute(REFUSE, [f"{body!r}, id {message_id!r}"])
        return f"refused a message with id {message_id!r}"
    # Another receiver that has just inserted this id makes us wait for it.
    new = await db.execute(REMEMBER, [number])
    if not new.rowcount:
        return f"dropped a duplicate view of {view[1].decode()}"
    await db.execute(COUNT, [view[1].decode()])
    return f"counted a view of {view[1].decode()}"


async def views() -> dict[str, int]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT video, count FROM views")
        return {row[0]: row[1] for row in await rows.fetchall()}


async def refused() -> list[str]:
    async with await AsyncConnection.connect(DATABASE) as db:
        rows = await db.execute("SELECT message FROM refused ORDER BY 1")
        return [row[0] for row in await rows.fetchall()]


async def main() -> None:
    await declare()
    # Made once, before the first try: a retry has to send the same id.
    view = str(uuid4()), "viewed cat.mp4"
    await publish([view, view])  # its confirm got lost: tried again

    async def crash(what: str) -> None:
        raise RuntimeError(what)

    try:
        await receive("A", crash)
    except RuntimeError as error:
        print(f"A {error}, and crashed before it acknowledged")

    async def show(what: str) -> None:
        print(f"A {what}")

    await receive("A", show, limit=2)
    await publish([("17", "viewed cat.mp4"), (str(uuid4()), "viewed cat.mp4")])
    await receive("A", show, limit=2)
    print(f"views: {await views()}, refused: {len(await refused())}")


if __name__ == "__main__":
    asyncio.run(main())
