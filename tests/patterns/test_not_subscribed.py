"""Topic router: whoever receives and never subscribed is told so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.patterns.stage import Stage
from tests.patterns.test_topic_router import spelt

NO_PATTERNS = "german has no patterns: subscribe() first"
TOLD = {
    "minibroker": "german",
    "rabbitmq": "no queue 'videos.german'",
    "kafka": NO_PATTERNS,
    "nats": "no such stream or consumer",
    "redis": NO_PATTERNS,
    "mqtt": "no session 'german': call subscribe()",
    "postgresql": NO_PATTERNS,
}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        pytest.param(key, told, id=f"{key}-topic_router", marks=pytest.mark.broker(key))
        for key, told in TOLD.items()
    ],
)
def test_a_receiver_that_never_subscribed_is_told(
    key: str,
    told: str,
    server: Server | None,
    addresses: Callable[[str], dict[str, str]],
    tmp_path: Path,
) -> None:
    topic = "patterns/topic_router"
    with Stage.of(topic, key, server, tmp_path, addresses=addresses) as stage:
        # Another one has, so that there is something to receive.
        stage.call("subscribe", receiver="player", patterns=[spelt(stage, "video.*.de")])
        receiver = stage.spawn("receive", receiver="german")
        assert stage.happens(lambda: receiver.ended, receiver)
        assert told in receiver.error
