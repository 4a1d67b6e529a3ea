"""Mosquitto: who may connect to a server that nobody configured, and what is too large."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.brokers.mqtt import CONNECT, Mosquitto
from tests.brokers.server import answers
from tests.patterns.stage import SnippetError, Stage

pytestmark = pytest.mark.broker(Mosquitto.key)

CONNACK, NOT_AUTHORISED = 0x20, 0x87
DISCONNECT, TAKEN_OVER = 0xE0, 0x8E


class OneLine(Mosquitto):
    """Mosquitto with a listener, and with nothing said of who may connect."""

    def prepare(self) -> None:
        super().prepare()
        self.configuration.write_text(f"listener {self.port_number} 127.0.0.1\n")

    def ready(self) -> bool:
        return answers(self.host, self.port_number)


def test_with_a_listener_nobody_may_connect_without_a_name(server: Server) -> None:
    with (
        server.another(OneLine) as own,
        socket.create_connection((own.host, own.port_number), timeout=30) as connection,
    ):
        connection.sendall(CONNECT)
        answer = connection.recv(64)
    assert answer[0] == CONNACK
    assert answer[3] == NOT_AUTHORISED


def test_without_persistence_nothing_is_saved(server: Server) -> None:
    with server.another(OneLine) as own:
        own.stop()
        assert not list(own.data.rglob("mosquitto.db"))


def connect(server: Server, client_id: bytes) -> socket.socket:
    """Open a session under a client id, as an MQTT 5 client does, and read the answer."""
    head = b"\x00\x04MQTT\x05\x02\x00\x05\x00"
    packet = head + len(client_id).to_bytes(2, "big") + client_id
    connection = socket.create_connection((server.host, server.port_number), timeout=30)
    connection.sendall(bytes([CONNECT[0], len(packet)]) + packet)
    assert connection.recv(64)[0] == CONNACK
    return connection


def test_a_second_client_under_one_id_throws_out_the_first(server: Server) -> None:
    with connect(server, b"worker") as first, connect(server, b"worker"):
        assert first.recv(64) == bytes([DISCONNECT, 1, TAKEN_OVER])
        assert first.recv(64) == b""


def test_a_restart_forgets_what_a_session_shares(server: Server, tmp_path: Path) -> None:
    with Stage.of("patterns/work_queue", "mqtt", server, tmp_path) as stage:
        stage.call("declare")
        stage.call("submit", tasks=["transcode cat.mp4"])
        server.stop()
        server.start()
        with pytest.raises(SnippetError, match="no session for"):
            stage.call("submit", tasks=["transcode dog.mp4"])
