"""A message as large as the broker takes: with the notes of its worker, a copy is larger.

Where the broker writes the copy, or counts the body alone, it is there. Elsewhere the worker ends
with an error that says so, and the message stays where it was.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.brokers import Server
from tests.brokers.mqtt import Mosquitto
from tests.patterns.stage import SnippetError, Stage

PATTERN = "patterns/dead_letter_channel"
TOPICS = pytest.mark.parametrize("topic", ["dead_letter_channel", "delayed_retry"])
MQTT_LIMIT = 100_000

#: Bytes of a body that `submit()` gets confirmed, and hardly any larger one.
KAFKA = 1024**2 - 100
NATS = 1024**2 - len(f"NATS/1.0\r\nNats-Msg-Id: {uuid4()}\r\n\r\n")
MQTT = MQTT_LIMIT - 30
RABBITMQ = 16 * 1024**2


class Limited(Mosquitto):
    """A server with a limit, which is without one by default up to 2.0."""

    def prepare(self) -> None:
        super().prepare()
        with self.configuration.open("a") as file:
            file.write(f"max_packet_size {MQTT_LIMIT}\n")


def video(size: int) -> str:
    """Return a task of so many bytes."""
    return '{"video": "' + "x" * (size - len('{"video": ""}')) + '"}'


def sent(stage: Stage, body: str) -> None:
    stage.call("declare")
    stage.call("submit", messages=[body])


def ends(stage: Stage, why: str) -> None:
    """Show that a worker ends because of `why`, without a dead letter."""
    worker = stage.spawn("work", worker="A", mode="fail")
    assert stage.happens(lambda: worker.ended, worker)
    assert why in worker.error
    assert not stage.call("dead")


def is_dead(stage: Stage, body: str) -> None:
    """Show that the message becomes a dead letter."""
    worker = stage.spawn("work", worker="A", mode="fail", limit=1)
    assert stage.happens(lambda: worker.returned, worker)
    assert stage.happens(lambda: [letter[0] for letter in stage.call("dead")] == [body], worker)


@pytest.mark.broker("kafka")
def test_kafkas_worker_ends_until_the_dead_letter_topic_takes_more(
    server: Server, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    with Stage.of(PATTERN, "kafka", server, before) as stage:
        sent(stage, video(KAFKA))
        ends(stage, "MessageSizeTooLargeError")
    with Stage.of(PATTERN, "kafka", server, after) as stage:
        stage.replace('"transcode.dead"', '"transcode.dead.larger"')
        stage.replace('{"retention.ms": "-1"}', f'{{"max.message.bytes": "{2 * KAFKA}"}}')
        stage.replace("enable_idempotence=True", f"max_request_size={2 * KAFKA}")
        stage.call("declare")
        is_dead(stage, video(KAFKA))


@TOPICS
@pytest.mark.broker("nats")
def test_natss_worker_ends_with_the_reason(topic: str, server: Server, tmp_path: Path) -> None:
    with Stage.of(f"patterns/{topic}", "nats", server, tmp_path) as stage:
        stage.replace("ACK_WAIT = 30", "ACK_WAIT = 1")
        sent(stage, video(NATS))
        for _ in ("it", "the next one"):
            ends(stage, f"with the headers, and NATS takes {1024**2}")


@TOPICS
@pytest.mark.broker("mqtt")
def test_mqtts_worker_ends_with_the_reason(topic: str, server: Server, tmp_path: Path) -> None:
    with (
        server.another(Limited) as limited,
        Stage.of(f"patterns/{topic}", "mqtt", limited, tmp_path) as stage,
    ):
        sent(stage, video(MQTT))
        for _ in ("it", "the next one"):
            ends(stage, "Packet too large")


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_counts_the_body_alone(server: Server, tmp_path: Path) -> None:
    with Stage.of(PATTERN, "rabbitmq", server, tmp_path) as stage:
        sent(stage, video(RABBITMQ))
        is_dead(stage, video(RABBITMQ))
        assert len(stage.call("dead", redrive=True)) == 1
        with pytest.raises(SnippetError, match="larger than"):
            stage.call("submit", messages=[video(RABBITMQ + 1)])
