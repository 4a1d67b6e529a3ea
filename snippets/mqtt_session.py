"""A session on an MQTT 5 server: paho-mqtt in asyncio, with no silent end."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
KEEPALIVE = 20  # seconds; after twice as many, a silent connection is lost
ANSWER_SECONDS = 30  # for each answer: longer than a server may stand still
QUIET_SECONDS = 30  # without a message, until the log says so
NOBODY, WITH_WILL = 0x10, 0x04  # reason codes of PUBACK and of DISCONNECT
WHY = "; if any was sent, this account may have no right to read it"
IF_NEW = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB


@asynccontextmanager
async def in_time(what: str, seconds: float) -> AsyncIterator[None]:
    """Wait no longer, and say for what: Python's own time-out has no text."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(f"no {what} in {seconds} s") from error


class Session:
    """One connection. When it is lost, each call raises: connect again."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.present = False  # whether the server had the session already
        self.lost: ConnectionError | None = None
        self.answers: dict[Any, asyncio.Future[ReasonCode]] = {}
        self.inbox = asyncio.Queue[Any]()
        self.topics: set[str] = set()
        self.turn = asyncio.Lock()  # for tasks that share the connection

    async def subscribe(self, topic: str, qos: int = 1) -> None:
        """Subscribe; retained messages come when the session is new to it."""
        options = SubscribeOptions(qos, retainHandling=IF_NEW)
        packet = self.client.subscribe(topic, options=options)[1]
        await self.answer(packet, f"subscribe to {topic}")
        self.topics.add(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Unsubscribe; what was sent before has arrived when this returns."""
        packet = self.client.unsubscribe(topic)[1]
        await self.answer(packet, f"unsubscribe from {topic}")
        self.topics.discard(topic)

    async def publish(
        self,
        topic: str,
        body: str | bytes | bytearray = "",
        retain: bool = False,
        copied: MQTTMessage | None = None,
        **more: Any,
    ) -> bool:
        """Wait for the confirm; return whether any session took the message.

        A copy keeps the properties of another message, and says where that
        was. `more` are its own, such as `MessageExpiryInterval=60`.
        """
        properties: Any = None  # most need none, and to make some costs time
        if copied or more:
            properties = Properties(PacketTypes.PUBLISH)
        if copied:
            properties = copied.properties or properties
            properties.UserProperty = [("x-origin", copied.topic)]  # one more
            if retain:  # it is to stay, with or without a body, for ever
                vars(properties).pop("MessageExpiryInterval", None)
                body = body or "(empty)"
        for name, value in more.items():
            setattr(properties, name, value)
        if isinstance(body, str):
            body = body.encode(errors="surrogateescape")
        packet = self.client.publish(topic, body, 1, retain, properties).mid
        code = await self.answer(packet, f"publish to {topic}")
        return bool(code.value != NOBODY)

    async def messages(
        self, limit: int | None = None, seconds: float | None = None
    ) -> AsyncIterator[MQTTMessage]:
        """Yield what arrives; the caller calls `ack()` after its work."""
        for _ in count() if limit is None else range(limit):
            self.check()
            try:
                async with asyncio.timeout(seconds):
                    message = await self.arrival()
            except TimeoutError:
                raise TimeoutError(f"no message in {seconds} s") from None
            self.check()
            yield message

    async def arrival(self) -> Any:
        """Wait for a message; log that none comes, as nobody else will.

        Some servers grant a subscription, and then keep back what the client
        has no right to read. That looks like a topic without messages.
        """
        quiet = QUIET_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(quiet):
                    return await self.inbox.get()
            on = ", ".join(sorted(self.topics)) or "the session's topics"
            logging.warning("MQTT: no message on %s in %s s%s", on, quiet, WHY)
            quiet *= 2

    def ack(self, message: MQTTMessage) -> None:
        """Acknowledge a message: without this it comes again."""
        self.check()
        self.client.ack(message.mid, message.qos)

    async def answer(self, packet: int | None, what: str) -> ReasonCode:
        """Wait for the server's answer to our packet of this number."""
        self.check()
        self.answers[packet] = answer = asyncio.Future[ReasonCode]()
        if not (await asyncio.wait([answer], timeout=ANSWER_SECONDS))[0]:
            raise TimeoutError(f"the MQTT server says nothing to: {what}")
        if answer.cancelled():
            self.check()
        if answer.result().is_failure:  # It may be "Not authorized".
            raise ConnectionError(f"MQTT: {what}: {answer.result()}")
        return answer.result()

    def check(self) -> None:
        """Raise if the connection is lost."""
        if self.lost:
            raise self.lost

    def told(self, packet: Any, codes: Any) -> None:
        """Take the server's answer to a packet."""
        if isinstance(packet, ConnectFlags):
            self.present, packet = packet.session_present, None
        if answer := self.answers.pop(packet, None):
            answer.set_result(codes[0] if isinstance(codes, list) else codes)

    def end(self, code: ReasonCode) -> None:
        """Let all who wait know that the connection is lost."""
        self.lost = ConnectionError(f"the MQTT connection is lost: {code}")
        while self.answers:
            self.answers.popitem()[1].cancel()
        self.inbox.put_nowait(None)


@asynccontextmanager
async def connect(
    name: str = "", expiry: int = 0, prefetch: int = 1, will: str = ""
) -> AsyncIterator[Session]:
    """Take up the session `name`, which the server keeps for `expiry` s."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTv5,
        reconnect_on_failure=False,  # Else old acknowledgements go astray.
        manual_ack=True,  # Else paho acknowledges before the work.
    )
    session = Session(client)
    # paho calls us in its own thread.
    call: Any = asyncio.get_running_loop().call_soon_threadsafe
    client.on_connect = lambda *it: call(session.told, it[2], it[3])
    client.on_subscribe = client.on_unsubscribe = client.on_connect
    client.on_publish = client.on_connect
    client.on_message = lambda *it: call(session.inbox.put_nowait, it[2])
    client.on_disconnect = lambda *it: call(session.end, it[3])
    user, password = (unquote(it or "") for it in (URL.username, URL.password))
    client.username_pw_set(user or None, password)
    if URL.scheme == "mqtts":
        client.tls_set()
    if will:  # the server publishes it, however this connection ends
        client.will_set(will, "offline", qos=1, retain=True)
    wishes = Properties(PacketTypes.CONNECT)
    wishes.SessionExpiryInterval, wishes.ReceiveMaximum = expiry, prefetch
    port = URL.port or (8883 if URL.scheme == "mqtts" else 1883)
    place = URL.hostname or "localhost", port, KEEPALIVE
    await asyncio.to_thread(
        client.connect, *place, clean_start=False, properties=wishes
    )
    client.loop_start()
    try:
        await session.answer(None, f"connect as {name!r}")
        if expiry and not session.present:
            logging.warning("MQTT session %r is new, with nothing in it", name)
        yield session
    finally:
        try:
            if not session.lost:  # what was acknowledged has to arrive
                with suppress(OSError):
                    await session.unsubscribe("nothing")  # this needs no right
        finally:  # This runs also when we are cancelled a second time.
            code = ReasonCode(PacketTypes.DISCONNECT, identifier=WITH_WILL)
            client.disconnect(code if will else None)
            await asyncio.to_thread(client.loop_stop)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a demonstration, or end with one line if there is no server."""

    async def demonstration() -> None:
        try:
            async with connect():
                pass
        except OSError as error:
            place = URL.netloc.rpartition("@")[2]
            raise SystemExit(
                f"no connection to an MQTT server at {place} ({error}): "
                "docker compose up --wait mqtt starts it, "
                "or make brokers ONLY=mqtt"
            ) from error
        await main()

    asyncio.run(demonstration())
