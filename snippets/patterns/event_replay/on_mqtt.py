# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""No event replay on MQTT: who comes late gets the last of each topic."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
VIEWS, SESSION = "views", 7 * 24 * 3600  # seconds that a session waits
PATIENCE = 30  # seconds that the retained messages may take
# Fields that events got later, and what stands for them in older events.
ADDED = {"kind": "viewed", "country": "unknown"}
EVENTS = [
    '{"video":"cat.mp4"}',
    '{"video":"dog.mp4","country":"AT"}',
    '{"kind":"liked","video":"dog.mp4"}',
    "viewed dog.mp4",
    '{"video":"cat.mp4","country":"AT"}',
]

State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]
Link = tuple[Client, asyncio.Queue[Any]]


def take(state: State, topic: str, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    try:
        event = ADDED | json.loads(body.decode())  # more fields: ignored
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][topic] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # the views and the position together, or neither


@asynccontextmanager
async def connect(name: str, clean: bool) -> AsyncIterator[Link]:
    """Run a client in its thread, and bring what it reports over to us."""
    loop = asyncio.get_running_loop()
    reports: asyncio.Queue[Any] = asyncio.Queue()

    def report(*told: Any) -> None:  # client, data, message; or a reason
        what = told[2] if len(told) == 3 else told[3]
        loop.call_soon_threadsafe(reports.put_nowait, what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTv5,
        reconnect_on_failure=False,  # a lost connection raises
        manual_ack=True,  # else paho acknowledges before the handler ran
    )
    client.on_connect = client.on_disconnect = client.on_publish = report
    client.on_message = client.on_unsubscribe = report
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = SESSION if name else 0
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    where = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        lambda: client.connect(*where, clean_start=clean, properties=session)
    )
    client.loop_start()
    try:
        await answer(reports)
        yield client, reports
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def answer(reports: asyncio.Queue[Any], message: bool = False) -> Any:
    """Wait for a message, or for the server's answer to a request."""
    while True:
        report = await reports.get()
        is_message = isinstance(report, MQTTMessage)
        if not is_message and report.is_failure:
            raise ConnectionError(f"MQTT server: {report}")
        if is_message == message:
            return report


async def publish(events: Sequence[str]) -> None:
    async with connect("", clean=True) as (client, reports):
        for event in events:
            body = event.encode(errors="surrogateescape")
            try:  # a topic for each video, which keeps its last event
                name = quote(json.loads(event)["video"], safe="")
            except Exception:
                name = sha256(body).hexdigest()
            client.publish(f"{VIEWS}/{name}", body, qos=1, retain=True)
        for _ in events:
            await answer(reports)


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "views": {}, "ignored": {}, "aside": {}}
    end = f"replayed/{uuid4()}"  # comes behind the retained messages
    async with (
        connect(Path(file).stem, clean=True) as (client, reports),
        # Mosquitto drops what is too much for its queue, and `end` with it.
        asyncio.timeout(PATIENCE),
    ):
        client.subscribe([(f"{VIEWS}/+", 1), (end, 1)])
        client.publish(end, qos=1)
        topic = ""
        while topic != end:
            message = await answer(reports, message=True)
            if (topic := message.topic) != end:
                take(state, topic, message.payload)
            client.ack(message.mid, message.qos)
        client.unsubscribe(end)  # its answer, a list, comes behind the acks
        while not isinstance(await reports.get(), list):
            pass
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    async with connect(Path(file).stem, clean=False) as (client, reports):
        done = 0
        while not limit or done < limit:
            message = await answer(reports, message=True)
            if take(state, message.topic, message.payload):
                await handle(message.payload.decode())
                done += 1
            save(file, state)
            client.ack(message.mid, message.qos)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay: here, of nothing
        await publish(EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    asyncio.run(main())
