# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Backpressure on MQTT 5: the producer spends a credit for each task."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
TOPIC, SHARED = "transcode", "$share/workers/transcode"
PRODUCER, CREDIT = "uploads", "credit/uploads"  # a pair for each producer
SESSIONS = {"A": SHARED, PRODUCER: CREDIT}  # and one for each other worker
LIMIT = 5  # unfinished tasks; a session keeps 1000, and drops what is more
SESSION_SECONDS = 7 * 24 * 3600  # a session's messages end with it
NOBODY = 0x10  # "confirmed", but no session took it; failures are above it
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]
Reports = asyncio.Queue[Any]
Link = tuple[Client, Reports, Reports, bool]


@asynccontextmanager
async def connect(name: str, prefetch: int = 1) -> AsyncIterator[Link]:
    """Run a client in its thread, and bring what it reports over to us."""
    call = asyncio.get_running_loop().call_soon_threadsafe
    answers, inbox = Reports(), Reports()

    def report(what: object, *queues: Reports) -> None:
        for queue in queues:
            call(queue.put_nowait, what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,  # a lost connection raises
        manual_ack=True,  # else paho acknowledges before the work
    )
    client.on_connect = lambda _c, _u, flags, r, _p: report(
        r if r.is_failure else flags, answers
    )
    client.on_disconnect = lambda _c, _u, _f, r, _p: report(r, answers, inbox)
    client.on_subscribe = lambda _c, _u, _id, r, _p: report(r[0], answers)
    client.on_publish = lambda _c, _u, _id, r, _p: report(r, answers)
    client.on_message = lambda _c, _u, message: report(message, inbox)
    # The server keeps the session of this name, and what waits in it.
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_SECONDS
    properties.ReceiveMaximum = prefetch
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    to = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(
        lambda: client.connect(*to, clean_start=False, properties=properties)
    )
    client.loop_start()
    try:
        flags = await take(answers)
        yield client, answers, inbox, flags.session_present
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def take(reports: Reports) -> Any:
    report = await reports.get()
    if isinstance(report, ReasonCode) and report.value >= NOBODY:
        raise ConnectionError(f"MQTT server: {report}")
    return report


async def declare() -> None:
    for name, topic in SESSIONS.items():
        async with connect(name) as (client, answers, _, there_already):
            client.subscribe(topic, qos=1)
            await take(answers)
            if topic == CREDIT and not there_already:
                for _ in range(LIMIT):
                    client.publish(CREDIT, qos=1)
                    await take(answers)


async def submit(tasks: Sequence[str], patience: float = 60.0) -> int:
    """Return how many tasks, from the first on, the sessions have taken."""
    async with connect(PRODUCER) as (client, answers, inbox, _):
        for confirmed, task in enumerate(tasks):
            try:
                async with asyncio.timeout(patience):
                    credit = await take(inbox)
            except TimeoutError:
                return confirmed  # the caller decides about the rest
            client.publish(TOPIC, task, qos=1)
            await take(answers)
            client.ack(credit.mid, credit.qos)  # it is spent
    return len(tasks)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker, prefetch) as (client, answers, inbox, _):
        # Again: Mosquitto 2.0 restores a session without what it shares.
        client.subscribe(SHARED, qos=1)
        await take(answers)
        for _ in count() if limit is None else range(limit):
            task = await take(inbox)
            await handle(task.payload.decode(errors="surrogateescape"))
            # First the credit: a crash in between must not lose it for ever.
            client.publish(CREDIT, qos=1)
            await take(answers)
            client.ack(task.mid, task.qos)


async def main() -> None:
    await declare()
    confirmed = await submit(TASKS, patience=3)
    print(f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full")
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    await work("A", note, limit=len(TASKS) - confirmed)
    more = await submit(TASKS[confirmed:])
    print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    asyncio.run(main())
