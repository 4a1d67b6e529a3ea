# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""An exception in a callback of paho-mqtt stops the client, in silence."""

import asyncio
import threading
from urllib.parse import unquote

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mqtt_session import URL, run

TOPIC = "uploads"


def handle(message: MQTTMessage) -> None:
    again = ", DUP" if message.dup else ""
    print(f"handler: {message.payload.decode()}{again}")
    if not message.dup:
        raise ValueError("a bug of ours")


async def connect(client: Client) -> None:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    if URL.username:
        password = unquote(URL.password or "")
        client.username_pw_set(unquote(URL.username), password)
    if URL.scheme == "mqtts":
        client.tls_set()
    host = URL.hostname or "localhost"
    port = URL.port or (8883 if URL.scheme == "mqtts" else 1883)
    await asyncio.to_thread(
        lambda: client.connect(
            host, port, clean_start=False, properties=properties
        )
    )
    client.loop_start()


async def main() -> None:
    # What Python does with an exception that ends a thread: a traceback on
    # standard error, and nothing else. We only make it one line.
    threading.excepthook = lambda gone: print("thread ended:", gone.exc_value)

    client = Client(
        CallbackAPIVersion.VERSION2,
        "thumbnailer",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    handled = threading.Event()
    client.on_message = lambda _c, _u, message: handle(message)
    await connect(client)
    network = next(t for t in threading.enumerate() if "paho" in t.name)
    client.subscribe(TOPIC, qos=1)
    client.publish(TOPIC, "cat.mp4", qos=1)
    await asyncio.to_thread(network.join)
    print("the program goes on; connected, says paho:", client.is_connected())

    # The message was not acknowledged. A new connection gets it again.
    again = Client(
        CallbackAPIVersion.VERSION2,
        "thumbnailer",
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )

    def after_work(_c: Client, _u: object, message: MQTTMessage) -> None:
        handle(message)
        again.ack(message.mid, message.qos)
        handled.set()

    again.on_message = after_work
    await connect(again)
    await asyncio.to_thread(handled.wait)
    again.disconnect()
    await asyncio.to_thread(again.loop_stop)


if __name__ == "__main__":
    run(main)
