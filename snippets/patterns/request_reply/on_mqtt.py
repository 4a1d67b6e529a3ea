# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Request-reply on MQTT 5: each asker gets its own answers."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
QUESTIONS, SHARED = "lengths", "$share/repliers/lengths"
NOBODY = 0x10  # "confirmed", but nobody subscribes to it

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]
Take = Callable[[Any, Any], None]


@asynccontextmanager
async def connect(name: str, topic: str, take: Take) -> AsyncIterator[Client]:
    """Run a client in its thread; `take` gets, in ours, what it reports."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def call(function: Callable[..., None], *what: Any) -> None:
        loop.call_soon_threadsafe(function, *what)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,  # a lost connection ends a replier
        manual_ack=True,  # else paho acknowledges before the work
    )
    client.on_subscribe = lambda *_: call(ready.set)
    client.on_publish = lambda _c, _u, packet, why, _p: call(take, packet, why)
    client.on_message = lambda _c, _u, it: call(take, None, it)
    client.on_disconnect = lambda *_: call(take, None, None)
    wishes = Properties(PacketTypes.CONNECT)
    wishes.ReceiveMaximum = 1  # the rest waits, and expires, at the server
    client.username_pw_set(URL.username, URL.password)
    if URL.scheme == "mqtts":
        client.tls_set()
    host, port = URL.hostname or "localhost", URL.port or 1883
    await asyncio.to_thread(client.connect, host, port, properties=wishes)
    client.subscribe(topic, qos=1)
    client.loop_start()
    try:
        await asyncio.wait_for(ready.wait(), 10)
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def declare() -> None:
    """Do nothing: a topic of MQTT is only a name."""


@asynccontextmanager
async def asker() -> AsyncIterator[Ask]:
    """Name a topic for answers; what it yields may be used concurrently."""
    replies = f"{QUESTIONS}/replies/{uuid4().hex}"
    waiting: dict[Any, asyncio.Queue[Any]] = {}

    def take(number: Any, what: Any) -> None:
        if isinstance(what, MQTTMessage):
            number = getattr(what.properties, "CorrelationData", None)
            client.ack(what.mid, what.qos)
        if told := waiting.pop(number, None):  # else it is late, or no answer
            told.put_nowait(what)

    async def ask(question: str, seconds: float) -> str:
        extra = Properties(PacketTypes.PUBLISH)
        extra.ResponseTopic = replies
        extra.CorrelationData = number = uuid4().bytes
        extra.MessageExpiryInterval = ceil(seconds)  # it takes whole seconds
        waiting[number] = told = asyncio.Queue[Any]()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    sent = client.publish(QUESTIONS, question, 1, False, extra)
                    waiting[sent.mid] = told
                    while (what := await told.get()) != NOBODY:
                        if isinstance(what, MQTTMessage):
                            return str(what.payload, "utf-8")
                    await asyncio.sleep(0.1)  # nobody has it: ask again
        finally:
            waiting.pop(number, None)

    async with connect("", replies, take) as client:
        yield ask


async def answer(replier: str, handle: Handler) -> None:
    got = asyncio.Queue[Any]()
    async with connect(
        replier, SHARED, lambda _, it: got.put_nowait(it)
    ) as me:
        me.on_publish = None  # the answer leaves before the acknowledgement
        while message := await got.get():
            extra = message.properties  # they return with the answer
            try:
                to, question = extra.ResponseTopic, message.payload.decode()
            except (AttributeError, ValueError):
                logging.warning("not a question: %r", message.payload)
            else:
                me.publish(to, await handle(question), 1, False, extra)
            me.ack(message.mid, message.qos)
    raise ConnectionError("the MQTT server is gone")


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its asker waits
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(answer("replier", probe))
    async with asker() as ask:
        both = ask("cat.mp4", 30), ask("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await ask("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no answer in time")
        print(await ask("zebra.mp4", 30))  # owl's answer comes before it
    replier.cancel()


if __name__ == "__main__":
    asyncio.run(main())
