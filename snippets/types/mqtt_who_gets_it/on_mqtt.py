# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""On MQTT four subscribers were away. What each gets when it is back."""

import asyncio
import os
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

URL = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
HOST, PORT = URL.hostname or "localhost", URL.port or 1883
TOPIC, END = "progress/cat.mp4", "end"


async def visit(
    name: str, session: int, subscribe_qos: int | None = None
) -> list[str]:
    """Connect, subscribe if asked to, and return what arrives."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[MQTTMessage] = asyncio.Queue()

    def arrive(_client: Client, _data: object, message: MQTTMessage) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, message)

    client = Client(
        CallbackAPIVersion.VERSION2,
        name,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.on_message = arrive
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = session  # seconds
    await asyncio.to_thread(
        lambda: client.connect(
            HOST, PORT, clean_start=False, properties=properties
        )
    )
    client.loop_start()
    if subscribe_qos is not None:
        client.subscribe(TOPIC, subscribe_qos)
    # Our own message comes back last: all before it is what we were owed.
    client.subscribe(f"{END}/{name}", qos=1)
    client.publish(f"{END}/{name}", END, qos=1)
    texts = []
    while (message := await arrived.get()).payload.decode() != END:
        texts.append(f"{message.payload.decode()} (QoS {message.qos})")
        client.ack(message.mid, message.qos)
    client.ack(message.mid, message.qos)
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)
    return texts


async def publish(text: str, qos: int, retain: bool = False) -> None:
    client = Client(CallbackAPIVersion.VERSION2)
    await asyncio.to_thread(lambda: client.connect(HOST, PORT))
    client.loop_start()
    sent = client.publish(TOPIC, text, qos, retain)
    await asyncio.to_thread(sent.wait_for_publish)
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)


async def main() -> None:
    await visit("no session", 0, subscribe_qos=1)
    await visit("session, QoS 0", 3600, subscribe_qos=0)
    await visit("session, QoS 1", 3600, subscribe_qos=1)
    await publish("10 %", qos=0)
    await publish("50 %", qos=1)
    await publish("90 %", qos=1, retain=True)
    print("no session:", await visit("no session", 0))
    print("session, QoS 0:", await visit("session, QoS 0", 0))
    print("session, QoS 1:", await visit("session, QoS 1", 0))
    print("newcomer:", await visit("newcomer", 0, subscribe_qos=1))
    await publish("", qos=1, retain=True)  # takes the retained one away


if __name__ == "__main__":
    asyncio.run(main())
