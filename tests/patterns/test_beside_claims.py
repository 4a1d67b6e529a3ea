"""What a line of one snippet is for, where no claim of its pattern needs that line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.snippets.running import SNIPPETS, download

CAT, DOG, OWL = [f'{{"video": "{name}.mp4"}}' for name in ("cat", "dog", "owl")]
Opens = Callable[[str, str], Stage]


@pytest.fixture
def opens(
    server: Server | None, addresses: Callable[[str], dict[str, str]], tmp_path: Path
) -> Opens:
    """Return a function from a pattern and a broker to the stage."""
    return lambda topic, key: Stage.of(
        f"patterns/{topic}", key, server, tmp_path, addresses=addresses
    )


def of(key: str, *topics: str) -> pytest.MarkDecorator:
    """Run the test for these patterns on this broker."""
    mark = pytest.mark.broker(key)
    cases = [pytest.param(topic, id=f"{key}-{topic}", marks=mark) for topic in topics]
    return pytest.mark.parametrize("topic", cases)


@of("minibroker", "work_queue")
def test_a_task_without_its_queue_is_refused(topic: str, opens: Opens) -> None:
    with opens(topic, "minibroker") as stage:
        lost = stage.spawn("submit", mode="fail", tasks=[CAT])
        assert stage.happens(lambda: lost.ended, lost)
        assert "call declare() first" in lost.error


@of("redis", "delayed_retry")
def test_what_is_done_is_not_done_again(topic: str, opens: Opens) -> None:
    with opens(topic, "redis") as stage:
        stage.replace("LEASE = 30_000", "LEASE = 2_000")
        stage.call("declare")
        stage.call("submit", messages=[CAT, DOG])
        worker = stage.spawn("work", worker="A")
        # One after the other: the first is settled when the second is taken.
        assert stage.happens(lambda: worker.done == ["cat.mp4", "dog.mp4"], worker)
        worker.kill()
        other = stage.spawn("work", worker="B")
        stage.call("submit", messages=[OWL])
        assert stage.happens(lambda: "owl.mp4" in other.done, other)
        # Longer than the lease of an entry, and than a look for those whose lease is over.
        assert stage.stays(lambda: "cat.mp4" not in other.taken, 6)


@of("postgresql", "backpressure")
def test_a_worker_does_no_more_than_its_limit(topic: str, opens: Opens) -> None:
    with opens(topic, "postgresql") as stage:
        stage.call("declare")
        stage.call("submit", tasks=["cat.mp4", "dog.mp4", "owl.mp4"], patience=1.0)
        worker = stage.spawn("work", worker="A", prefetch=3, limit=1)
        assert stage.happens(lambda: worker.returned, worker)
        assert len(worker.done) == 1


@of("rabbitmq", "publish_subscribe", "topic_router")
def test_an_exchange_outlives_its_broker(topic: str, opens: Opens, server: Server | None) -> None:
    assert isinstance(server, Rabbitmq)
    routed = topic == "topic_router"
    with opens(topic, "rabbitmq") as stage:
        who: Any = {"receiver": "ana"} if routed else {"subscriber": "ana"}
        wants: Any = {"patterns": ["video.#"]} if routed else {}
        events = [("video.new", "cat.mp4")] if routed else ["cat.mp4"]
        stage.call("subscribe", **who, **wants)
        server.write_down_queues()
        server.kill()
        server.start()
        stage.call("publish", events=events)
        ana = stage.spawn("receive", **who)
        assert stage.happens(lambda: len(ana.done) == 1, ana)


@of("nats", "topic_router")
def test_a_receiver_gets_what_comes_after_it_has_subscribed(topic: str, opens: Opens) -> None:
    with opens(topic, "nats") as stage:
        stage.call("subscribe", receiver="bob", patterns=["video.>"])
        stage.call("publish", events=[("video.before", "cat.mp4")])
        stage.call("subscribe", receiver="ana", patterns=["video.>"])
        stage.call("publish", events=[("video.after", "dog.mp4")])
        bob, ana = [stage.spawn("receive", receiver=name) for name in ("bob", "ana")]
        assert stage.happens(lambda: len(bob.done) == 2 and bool(ana.done), bob, ana)
        assert ana.done == ["video.after"]


@pytest.mark.broker("mqtt")
def test_producers_on_one_connection_each_learn_how_many_partitions_there_are(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", server.address)
    file = SNIPPETS / "patterns" / "partitioned_consumers" / "on_mqtt.py"
    snippet: Any = load(download(file, tmp_path))

    async def main() -> None:
        await snippet.declare()
        async with snippet.connect() as client, asyncio.TaskGroup() as producers:
            for each in range(9):
                producers.create_task(snippet.submit(client, [("fox", f"upload {each}")]))

    asyncio.run(main())
