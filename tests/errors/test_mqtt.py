"""What Mosquitto says in answers and in its log, and what paho-mqtt makes of it."""

from __future__ import annotations

import queue
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from handbook.errors import LOG
from tests.brokers import Server
from tests.brokers.clients import SECONDS
from tests.brokers.mqtt import CONNECT, Mosquitto
from tests.brokers.server import answers, free_port, wait_until
from tests.errors.conftest import Hearing

pytestmark = pytest.mark.broker(Mosquitto.key)


class Camera:
    """A client that writes down the reason code of each answer."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.said: queue.Queue[tuple[str, str]] = queue.Queue()
        self.client: Any = Client(
            CallbackAPIVersion.VERSION2, name, protocol=MQTTv5, reconnect_on_failure=False
        )
        self.client.on_connect = lambda *said: self.said.put(("connect", str(said[3])))
        self.client.on_disconnect = lambda *said: self.said.put(("disconnect", str(said[3])))
        self.client.on_publish = lambda *said: self.said.put(("publish", str(said[3])))
        self.client.on_subscribe = lambda *said: self.said.put(("subscribe", str(said[3][0])))

    def heard(self, event: str) -> str:
        """Return the reason of the next such answer."""
        while True:
            name, reason = self.said.get(timeout=SECONDS)
            if name == event:
                return reason

    def connect(self) -> None:
        self.client.connect(self.server.host, self.server.port_number)
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def camera(server: Server, name: str = "camera-1", user: str = "") -> Iterator[Camera]:
    """Yield a client that is connecting."""
    one = Camera(server, name)
    if user:
        one.client.username_pw_set(user, "secret")
    one.connect()
    try:
        yield one
    finally:
        one.close()


def logged(server: Server, *parts: str, after: int = 0) -> str:
    """Return the first line of the server's log with these parts, without time and port."""

    def lines() -> list[str]:
        log = server.log.read_text(errors="replace")[after:].splitlines()
        return [line for line in log if all(part in line for part in parts)]

    wait_until(lambda: bool(lines()), f"the log to have {parts}")
    line = re.sub(r"^\S+: ", "", lines()[0])
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:50000", line)


def send(server: Server, *packets: bytes) -> bytes:
    """Send bytes as they are, and return the answer to the last of them, if any."""
    answer = b""
    with socket.create_connection((server.host, server.port_number), timeout=SECONDS) as one:
        for packet in packets:
            one.sendall(packet)
            with suppress(ConnectionResetError):
                answer = one.recv(64)
    return answer


def named(name: str, *, version: int = 5, keep_alive: int = 0) -> bytes:
    """Return the packet with which a client opens a session."""
    head = b"\x00\x04MQTT" + bytes([version, 2]) + keep_alive.to_bytes(2, "big")
    body = head + (b"\x00" if version == 5 else b"") + len(name).to_bytes(2, "big") + name.encode()
    return bytes([CONNECT[0], len(body)]) + body


class Own(Mosquitto):
    """Mosquitto with more settings."""

    settings = ""

    def prepare(self) -> None:
        super().prepare()
        text = self.configuration.read_text()
        if "allow_anonymous" in self.settings:
            text = text.replace("allow_anonymous true\n", "")
        self.configuration.write_text(text + self.settings.format(data=self.data))

    def ready(self) -> bool:
        return answers(self.host, self.port_number)


def own(settings: str) -> type[Own]:
    return type("Own", (Own,), {"settings": settings})


NAMELESS = "allow_anonymous false\n"


def test_not_authorized(server: Server, said: Hearing) -> None:
    with server.another(own(NAMELESS)) as strict:
        with camera(strict) as one:
            said(one.heard("connect"))
        command = ("-h", strict.host, "-p", str(strict.port_number), "-t", "videos", "-m", "cat")
        for version in ("5", "311"):
            said(printed(strict, "mosquitto_pub", *command, "-V", version), client="mosquitto_pub")
        said(logged(strict, "camera-1", "isconnected"), client=LOG)


def printed(server: Server, program: str, *arguments: str) -> str:
    command = server.source.command(program, *arguments)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stderr + done.stdout


class Guarded(Own):
    """Mosquitto with one user, who may write to one topic."""

    settings = "allow_anonymous false\npassword_file {data}/users\nacl_file {data}/rights\n"

    def prepare(self) -> None:
        super().prepare()
        users = self.data / "users"
        users.touch(mode=0o600)
        subprocess.run(
            self.source.command("mosquitto_passwd", "-b", str(users), "uploader", "secret"),
            check=True,
            capture_output=True,
        )
        rights = self.data / "rights"
        rights.write_text("user uploader\ntopic write videos\n")
        rights.chmod(0o600)


def test_bad_user_name_or_password(server: Server, said: Hearing) -> None:
    with server.another(Guarded) as strict, camera(strict, user="stranger") as one:
        said(one.heard("connect"))
        said(logged(strict, "camera-1", "isconnected"), client=LOG)


def test_publish_denied(server: Server, said: Hearing) -> None:
    with server.another(Guarded) as strict, camera(strict, user="uploader") as one:
        one.heard("connect")
        one.client.publish("thumbnails", "cat", 1)
        said(one.heard("publish"))


def test_session_taken_over(server: Server, said: Hearing) -> None:
    with camera(server, "worker") as first:
        first.heard("connect")
        with camera(server, "worker"):
            said(first.heard("disconnect"))
    said(logged(server, "worker", "taken" if server.at_least(2, 1) else "already"), client=LOG)


def test_packet_too_large(server: Server, said: Hearing) -> None:
    """It reads no further, so what it says to the client is often lost with the connection."""
    with server.another(own("max_packet_size 1000\n")) as small, camera(small) as one:
        one.heard("connect")
        one.client.publish("videos", bytes(2000), 1)
        one.heard("disconnect")
        said(logged(small, "camera-1", "isconnected"), client=LOG)


def test_qos_not_supported(server: Server, said: Hearing) -> None:
    with server.another(own("max_qos 1\n")) as low, camera(low) as one:
        one.heard("connect")
        one.client.publish("videos", "cat", 2)
        said(one.heard("disconnect"))
        if low.at_least(2, 1):
            said(logged(low, "camera-1", "isconnected"), client=LOG)


def test_retain_not_supported(server: Server, said: Hearing) -> None:
    with server.another(own("retain_available false\n")) as low, camera(low) as one:
        one.heard("connect")
        one.client.publish("videos", "cat", 1, retain=True)
        said(one.heard("disconnect"))
        if low.at_least(2, 1):
            said(logged(low, "camera-1", "isconnected"), client=LOG)


def test_topic_alias_invalid(server: Server, said: Hearing) -> None:
    alias: Any = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 1000
    with camera(server, "alias") as one:
        one.heard("connect")
        one.client.publish("videos", "cat", 1, properties=alias)
        said(one.heard("disconnect"))
    if server.at_least(2, 1):
        said(logged(server, "alias", "isconnected"), client=LOG)


def test_no_local_on_a_shared_subscription(server: Server, said: Hearing) -> None:
    with camera(server, "shared") as one:
        one.heard("connect")
        one.client.subscribe("$share/workers/videos", options=SubscribeOptions(1, noLocal=True))
        said(one.heard("disconnect"))
    said(logged(server, "shared", "isconnected"), client=LOG)


def test_keep_alive_timeout(server: Server, said: Hearing) -> None:
    """A client that promised a packet each second, and is silent."""
    with socket.create_connection((server.host, server.port_number), timeout=SECONDS) as one:
        one.sendall(named("sleepy", keep_alive=1))
        said(logged(server, "sleepy", "timeout"), client=LOG)


def test_malformed_packet(server: Server, said: Hearing) -> None:
    """A topic that is no UTF-8."""
    body = b"\x00\x02\xff\xff\x00\x01\x00"
    send(server, named("garbled"), bytes([0x32, len(body)]) + body)
    said(logged(server, "garbled", "isconnected"), client=LOG)


def test_unsupported_protocol_version(server: Server, said: Hearing) -> None:
    send(server, named("future", version=3))
    said(logged(server, "protocol version"), client=LOG)


def test_http_at_the_mqtt_port(server: Server, said: Hearing) -> None:
    before = len(server.log.read_text())
    send(server, b"GET / HTTP/1.1\r\n\r\n")
    said(logged(server, "protocol error", after=before), client=LOG)


def test_connection_refused(server: Server, said: Hearing) -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        Camera(server, "nobody").client.connect(server.host, free_port())
    said(caught.value)


def test_invalid_subscription_filter(server: Server, said: Hearing) -> None:
    with pytest.raises(ValueError, match="filter") as caught:
        Camera(server, "filters").client.subscribe("videos/#/cat")
    said(caught.value)


def test_publish_topic_with_wildcards(server: Server, said: Hearing) -> None:
    with pytest.raises(ValueError, match="wildcards") as caught:
        Camera(server, "topics").client.publish("videos/#", "cat")
    said(caught.value)


def test_client_id_for_a_lasting_session(server: Server, said: Hearing) -> None:
    assert server
    with pytest.raises(ValueError, match="client id") as caught:
        Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311, clean_session=False)
    said(caught.value)


def test_callback_api_version(server: Server, said: Hearing) -> None:
    assert server
    old: Any = Client
    with pytest.raises(TypeError, match="callback") as caught:
        old("camera-1")
    said(caught.value)


class Local(Own):
    """Mosquitto as who only typed its name has it, but for the port."""

    def command(self) -> list[str]:
        return self.source.command("mosquitto", "-p", str(self.port_number))


def test_local_only_mode(server: Server, said: Hearing) -> None:
    with server.another(Local) as local:
        said(logged(local, "local only"), client=LOG)
