"""What safety costs on MQTT: the quality of service, and when Mosquitto saves its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.benchmarks.measure import (
    BATCHES,
    BODY,
    IN_FLIGHT,
    NO_CONFIRM,
    ONE_BY_ONE,
    WINDOW,
    Benchmark,
    Publisher,
    Publishers,
    Setting,
)
from tests.brokers import Server
from tests.brokers.mqtt import Mosquitto

#: A session takes any number of messages, also of QoS 0, and the window is as wide as elsewhere.
ROOM = f"max_queued_messages 0\nqueue_qos0_messages true\nmax_inflight_messages {WINDOW}\n"
#: Send small packets at once: by default the kernel holds one back until the last is acknowledged.
AT_ONCE = "set_tcp_nodelay true\n"
#: Write all sessions to the disk after each change, not every 30 minutes.
SAVE = "autosave_on_changes true\nautosave_interval 1\n"


def add(lines: str, server: Server) -> None:
    """Append to the server's configuration."""
    assert isinstance(server, Mosquitto)
    with server.configuration.open("a") as file:
        file.write(lines)


class Connected(Client):
    """paho's client, whose thread brings confirms and messages over to the event loop."""

    def __init__(self, name: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self.events = asyncio.get_running_loop()
        self.up = self.events.create_future()
        self.open: dict[int, asyncio.Future[None]] = {}
        self.received = 0
        self.max_inflight_messages_set(WINDOW)
        self.on_connect = lambda *_: self.tell(self.up.set_result, None)
        self.on_subscribe = lambda _c, _u, number, *_: self.tell(self.end, number)
        self.on_publish = lambda _c, _u, number, *_: self.tell(self.end, number)
        self.on_message = lambda *_: self.tell(self.take)

    def tell(self, what: Callable[..., object], *arguments: object) -> None:
        self.events.call_soon_threadsafe(what, *arguments)

    def end(self, number: int) -> None:
        if number in self.open:  # nobody waits for a message of QoS 0
            self.open.pop(number).set_result(None)

    def take(self) -> None:
        self.received += 1

    async def ended(self, number: int | None) -> None:
        """Wait until the server has answered the request of that number, just made."""
        assert number is not None
        self.open[number] = self.events.create_future()
        await self.open[number]


@asynccontextmanager
async def connect(server: Server, name: str, *, keep: int = 0) -> AsyncIterator[Connected]:
    """Connect; the session outlives the connection by `keep` seconds."""
    place = urlsplit(server.address)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = keep
    client = Connected(name)
    client.connect(
        place.hostname or "", place.port or 0, clean_start=not keep, properties=properties
    )
    client.loop_start()
    try:
        await client.up
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


@asynccontextmanager
async def session(qos: int, server: Server, name: str, _lanes: int) -> Publishers:
    """Publish to the session of a subscriber that is away: it is the queue."""
    reader = f"{name}-reader"
    async with connect(server, reader, keep=3600) as away:
        await away.ended(away.subscribe(name, qos=2)[1])
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(server, name))
        back: list[Connected] = []

        async def confirmed(_: int) -> None:
            await client.ended(client.publish(name, BODY, qos=qos).mid)

        async def unconfirmed() -> None:
            client.publish(name, BODY, qos=0)

        async def arrived() -> None:
            # The server answers this one, and in the order in which they came.
            await client.ended(client.publish(f"{name}/done", qos=1).mid)

        async def stored() -> int:
            if not back:  # the subscriber takes what waits for it
                again = connect(server, reader, keep=3600)
                back.append(await stack.enter_async_context(again))
            return back[0].received

        yield Publisher(stored, confirmed, unconfirmed=unconfirmed, arrived=arrived)
    async with connect(server, reader):
        pass  # a clean start ends the session


twice = partial(session, 2)
once = partial(session, 1)
never = partial(session, 0)

QOS_2 = "QoS 2: in memory, no duplicate"
NO_DELAY = "QoS 2, set_tcp_nodelay true"
QOS_1 = "QoS 1: in memory"
QOS_0 = "QoS 0: nothing is answered"
SAVED = "QoS 1, saved after each change"

BENCHMARK = Benchmark(
    "mqtt",
    [
        Setting(QOS_2, ONE_BY_ONE, 300, twice),
        Setting(QOS_2, BATCHES, 300, twice),
        Setting(QOS_2, IN_FLIGHT, 1500, twice),
        Setting(NO_DELAY, BATCHES, 1500, twice, "at once"),
        Setting(NO_DELAY, IN_FLIGHT, 1500, twice, "at once"),
        Setting(QOS_1, ONE_BY_ONE, 300, once),
        Setting(QOS_1, IN_FLIGHT, 1500, once),
        Setting(QOS_0, NO_CONFIRM, 3000, never, certain=False),
        Setting(SAVED, ONE_BY_ONE, 200, once, "saving"),
    ],
    {
        "usual": partial(add, ROOM),
        "at once": partial(add, ROOM + AT_ONCE),
        "saving": partial(add, ROOM + SAVE),
    },
)
