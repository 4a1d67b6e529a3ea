"""How many last values a dashboard gets that comes late, by the QoS with which it subscribes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.brokers import Server

CAMERAS = 3000
PATIENCE = 60  # seconds


@contextmanager
def connected(server: Server) -> Iterator[tuple[Client, queue.Queue[str]]]:
    """Run a client; what it receives is in the queue, by topic."""
    url = urlsplit(server.environment_of_clients["MQTT_URL"])
    topics: queue.Queue[str] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = lambda _client, _data, message: topics.put(message.topic)
    client.connect(url.hostname or "127.0.0.1", url.port or 1883)
    client.loop_start()
    try:
        yield client, topics
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.broker("mqtt")
def test_last_values_count_towards_the_limit_of_a_session(server: Server) -> None:
    with connected(server) as (cameras, _):
        confirms = [
            cameras.publish(f"cameras/{number}/celsius", "42", qos=1, retain=True)
            for number in range(CAMERAS)
        ]
        for confirm in confirms:
            confirm.wait_for_publish(PATIENCE)

        with connected(server) as (dashboard, topics):
            dashboard.subscribe("cameras/+/celsius", qos=0)
            assert len({topics.get(timeout=PATIENCE) for _ in range(CAMERAS)}) == CAMERAS

        with connected(server) as (dashboard, topics):
            dashboard.subscribe("cameras/+/celsius", qos=1)
            dashboard.subscribe("end", qos=1)
            got = {topics.get(timeout=PATIENCE)}
            # What is published now waits behind the last values, or is dropped like them.
            while "end" not in got:
                cameras.publish("end", qos=1).wait_for_publish(PATIENCE)
                while not topics.empty():
                    got.add(topics.get())
            # 1000 wait at most; a few more were on their way by then.
            assert 1000 <= len(got) < CAMERAS / 2
