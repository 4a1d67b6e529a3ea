"""Whoever publishes in a window on Kafka returns when all is confirmed, and no sooner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Server
from tests.patterns.stage import Stage

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "event_replay": ("publish", {"events": ['{"video": "cat"}', '{"video": "dog"}']}),
    "idempotent_receiver": ("publish", {"events": [("1", "cat.mp4"), ("2", "dog.mp4")]}),
    "partitioned_consumers": ("submit", {"tasks": [("cat.mp4", "cut"), ("dog.mp4", "cut")]}),
    "publish_subscribe": ("publish", {"events": ["cat.mp4", "dog.mp4"]}),
    "topic_router": ("publish", {"events": [("video.a", "cat.mp4"), ("video.b", "dog.mp4")]}),
    "work_queue": ("submit", {"tasks": ["cat.mp4", "dog.mp4"]}),
}
#: Longer than the client waits as it closes: without the confirms, the call would have returned.
SECONDS = 7


@pytest.mark.broker("kafka")
@pytest.mark.parametrize("topic", CALLS, ids=[f"kafka-{topic}" for topic in CALLS])
def test_a_publisher_waits_for_each_confirm(
    topic: str, server: Server, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    function, arguments = CALLS[topic]
    with Stage.of(f"patterns/{topic}", "kafka", server, tmp_path, addresses=addresses) as stage:
        if "def declare(" in stage.snippet.read_text():
            stage.call("declare")
        stage.call(function, **arguments)  # when it returns, all is there that publishing needs
        publisher = stage.spawn(function, mode="halfway", **arguments)
        assert stage.happens(lambda: publisher.halfway, publisher)
        server.freeze()
        try:
            publisher.go_on()
            assert stage.stays(lambda: not publisher.ended, SECONDS)
        finally:
            server.thaw()
        assert stage.happens(lambda: publisher.returned, publisher)
