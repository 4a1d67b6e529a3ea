"""A session of MQTT 5 on Mosquitto, for the trials: paho's client, which acknowledges by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.brokers import Server
from tests.brokers.server import wait_until

ANSWER_SECONDS = 60


class Session:
    """One connection. `received` is what arrived; `ended` says how the connection ended."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.present = False  # whether the server had the session already
        self.received: list[MQTTMessage] = []
        self.ended: ReasonCode | None = None
        self._said: dict[int, ReasonCode] = {}
        self._news = threading.Condition()

    def subscribe(self, topic: str, qos: int = 1) -> ReasonCode:
        """Subscribe; return what the server says."""
        return self._answer(self.client.subscribe(topic, qos)[1])

    def publish(
        self,
        topic: str,
        body: str | bytes = b"",
        qos: int = 1,
        *,
        retain: bool = False,
        **more: Any,
    ) -> ReasonCode:
        """Publish, and return what the server says; `more` are properties of MQTT 5."""
        properties = Properties(PacketTypes.PUBLISH)
        for name, value in more.items():
            setattr(properties, name, value)
        return self._answer(self.client.publish(topic, body, qos, retain, properties).mid)

    def ack(self, message: MQTTMessage) -> None:
        self.client.ack(message.mid, message.qos)

    def bodies(self) -> list[str]:
        """Return what has arrived up to now."""
        return [message.payload.decode() for message in list(self.received)]

    def comes(self, *bodies: str) -> None:
        """Wait until just these have arrived, in this order."""
        wait_until(lambda: len(self.received) >= len(bodies), f"{bodies}, got {self.bodies()}")
        assert self.bodies() == [*bodies]

    def settled(self) -> None:
        """Wait for an answer: what was acknowledged before has arrived, and what was sent too."""
        self._answer(self.client.unsubscribe("nothing")[1])

    def _answer(self, packet: int | None) -> ReasonCode:
        assert packet is not None
        with self._news:
            if not self._news.wait_for(lambda: packet in self._said or self.ended, ANSWER_SECONDS):
                raise TimeoutError("the MQTT server does not answer")
            if packet not in self._said:
                raise ConnectionError(f"the MQTT connection ended: {self.ended}")
            return self._said.pop(packet)

    def told(self, packet: int, codes: Any) -> None:
        with self._news:
            self._said[packet] = codes[0] if isinstance(codes, list) else codes
            self._news.notify_all()

    def end(self, code: ReasonCode) -> None:
        with self._news:
            self.ended = code
            self._news.notify_all()


@contextmanager
def session(
    server: Server,
    name: str = "",
    *,
    expiry: int = 0,
    prefetch: int = 0,
    clean: bool = False,
    port: int = 0,
) -> Iterator[Session]:
    """Take up the session `name`, which the server keeps for `expiry` seconds, and leave gracefully.

    With an `expiry`, this is the durable session of the handbook's consumers.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    found, connected = Session(client), threading.Event()

    def up(_client: Client, _data: Any, flags: Any, code: ReasonCode, *_: Any) -> None:
        found.present = flags.session_present
        if not code.is_failure:
            connected.set()

    hear: Callable[..., None] = lambda *it: found.told(it[2], it[3])  # noqa: E731
    client.on_connect = up
    client.on_subscribe = client.on_unsubscribe = client.on_publish = hear
    client.on_message = lambda _client, _data, message: found.received.append(message)
    client.on_disconnect = lambda *it: found.end(it[3])
    wishes = Properties(PacketTypes.CONNECT)
    wishes.SessionExpiryInterval = expiry
    if prefetch:
        wishes.ReceiveMaximum = prefetch
    place = urlsplit(server.address)
    client.connect(
        place.hostname or "", port or place.port or 1883, 60, clean_start=clean, properties=wishes
    )
    client.loop_start()
    try:
        if not connected.wait(ANSWER_SECONDS):
            raise TimeoutError("the MQTT server does not answer")
        yield found
    finally:
        client.disconnect()
        client.loop_stop()
