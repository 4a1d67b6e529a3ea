"""MQTT's snippets after a crash of the server: whoever waited raises, and begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Server
from tests.brokers.mqtt import Mosquitto
from tests.patterns.home import load
from tests.patterns.stage import SnippetError, Stage
from tests.snippets.running import SNIPPETS, download

pytestmark = pytest.mark.broker(Mosquitto.key)

WORK: Any = ("declare", {}), ("work", {"worker": "A"})
#: What makes the session, what takes from it, what publishes, and what is then handled.
LONG_LIVED: dict[str, Any] = {
    "work_queue": (*WORK, "submit", {"tasks": ["cat"]}, "cat"),
    "message_expiration": (*WORK, "submit", {"tasks": ["cat"], "seconds": 60}, "cat"),
    "partitioned_consumers": (
        ("declare", {"partitions": 1}),
        WORK[1],
        "submit",
        {"tasks": [["a", "cat"]]},
        "cat",
    ),
    "dead_letter_channel": (*WORK, "submit", {"messages": ['{"video": "cat"}']}, "cat"),
    "delayed_retry": (*WORK, "submit", {"messages": ['{"video": "cat"}']}, "cat"),
    "publish_subscribe": (
        ("subscribe", {"subscriber": "notifier"}),
        ("receive", {"subscriber": "notifier"}),
        "publish",
        {"events": ["cat"]},
        "cat",
    ),
}


@pytest.mark.parametrize("pattern", LONG_LIVED)
def test_after_a_crash_it_raises_and_subscribes_again(
    pattern: str, server: Server, tmp_path: Path
) -> None:
    declare, take, publish, messages, handled = LONG_LIVED[pattern]
    with Stage.of(f"patterns/{pattern}", "mqtt", server, tmp_path) as stage:
        stage.call(declare[0], **declare[1])
        first = stage.spawn(take[0], **take[1])
        stage.call(publish, **messages)
        assert stage.happens(lambda: first.done == [handled], first)
        server.kill()
        assert stage.happens(lambda: first.ended, first)
        assert "the MQTT connection is lost" in first.error
        server.start()  # nothing was saved: neither the session nor what it had subscribed to
        if pattern == "partitioned_consumers":
            stage.call(declare[0], **declare[1])
        second = stage.spawn(take[0], **take[1])

        def sent() -> bool:
            try:
                stage.call(publish, **messages)
            except SnippetError as error:
                assert "declare()" in str(error)  # noqa: PT017
                return False  # it has not subscribed yet, and the publisher is told
            return bool(second.done)

        assert stage.happens(sent, second)


def test_after_a_crash_a_receiver_of_the_transactional_outbox_subscribes_again(
    server: Server, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    topic = "patterns/transactional_outbox"
    with Stage.of(topic, "mqtt", server, tmp_path, addresses=addresses) as stage:
        stage.call("declare")
        stage.call("upload", videos=["cat.mp4"])
        server.kill()
        server.start()  # without the session that was declared
        receiver = stage.spawn("receive")

        def relayed() -> bool:
            try:
                stage.call("relay", limit=1)
            except SnippetError as error:
                assert "declare()" in str(error)  # noqa: PT017
                return False
            return True

        assert stage.happens(relayed, receiver)
        assert stage.happens(lambda: receiver.done == ["uploaded cat.mp4"], receiver)


@pytest.mark.parametrize(
    ("pattern", "function", "arguments"),
    [
        ("topic_router", "receive", {"receiver": "german"}),
        ("event_replay", "follow", {"file": "live"}),
        ("backpressure", "submit", {"tasks": ["cat"]}),
        ("partitioned_consumers", "submit", {"tasks": [["a", "cat"]]}),
    ],
)
def test_what_the_server_has_forgotten_is_named(
    pattern: str, function: str, arguments: dict[str, Any], server: Server, tmp_path: Path
) -> None:
    with Stage.of(f"patterns/{pattern}", "mqtt", server, tmp_path) as stage:
        if pattern == "event_replay":
            stage.call("replay", file="live")
        server.kill()
        server.start()
        actor = stage.spawn(function, **arguments)
        assert stage.happens(lambda: actor.ended, actor)
        assert actor.error.startswith("LookupError: ")
        assert "call " in actor.error


def test_a_requestor_raises_at_once_and_a_new_one_is_answered(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", server.address)
    snippet: Any = load(download(SNIPPETS / "patterns" / "request_reply" / "on_mqtt.py", tmp_path))

    async def handle(video: str) -> str:
        if video == "owl":
            server.kill()
        return f"{video}: done"

    async def main() -> None:
        replier = asyncio.create_task(snippet.serve("A", handle))
        async with snippet.requestor() as request:
            assert await request("cat", 20) == "cat: done"
            began = asyncio.get_running_loop().time()
            for _ in "ab":  # while it waits, and later
                with pytest.raises(ConnectionError, match="the MQTT connection is lost"):
                    await request("owl", 60)
            assert asyncio.get_running_loop().time() - began < 30
        with pytest.raises(ConnectionError, match="the MQTT connection is lost"):
            await replier
        server.start()
        replier = asyncio.create_task(snippet.serve("A", handle))
        async with snippet.requestor() as request:
            assert await request("dog", 20) == "dog: done"
        replier.cancel()

    asyncio.run(main())


def test_a_replier_answers_nowhere_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", server.address)
    snippet: Any = load(download(SNIPPETS / "patterns" / "request_reply" / "on_mqtt.py", tmp_path))

    async def handle(video: str) -> str:
        return f"{video}: done"

    async def main() -> None:
        replier = asyncio.create_task(snippet.serve("A", handle))
        async with snippet.connect() as client, snippet.requestor() as request:
            await client.subscribe("invoices/#")
            assert await request("cat", 20) == "cat: done"
            for topic in ("invoices/paid", "lengths/replies-of-mine"):
                await client.publish("lengths", "fox", ResponseTopic=topic)
            await client.publish("lengths", b"\xff", ResponseTopic="lengths/replies/x")
            await client.publish("lengths", "")
            assert await request("dog", 20) == "dog: done"
            assert client.inbox.empty()
        assert not replier.done()
        replier.cancel()

    asyncio.run(main())


def test_a_device_hears_of_a_crash_and_is_offline_whenever_it_is_gone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", server.address)
    snippet: Any = load(download(SNIPPETS / "use_cases/iot_telemetry/on_mqtt.py", tmp_path))

    async def presence() -> str:
        async with snippet.connect() as newcomer:
            await newcomer.subscribe("gate/alive", qos=0)
            message = await anext(newcomer.messages(seconds=20))
            return str(message.payload, "utf-8")

    async def main() -> None:
        async with snippet.device("gate") as camera:
            assert await presence() == "online"
            await snippet.put(camera, "gate/celsius", "41")
        assert await presence() == "offline"  # it left politely
        async with snippet.device("gate") as camera:
            server.kill()
            with pytest.raises(ConnectionError, match="the MQTT connection is lost"):
                await snippet.put(camera, "gate/celsius", "42")
        server.start()
        async with snippet.device("gate") as camera:
            await snippet.put(camera, "gate/celsius", "43")
            assert await presence() == "online"

    asyncio.run(main())
