"""What a line of one snippet is for, where no claim of its pattern needs that line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError
from redis import Redis

from tests.brokers import Server
from tests.brokers.kafka import ask
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.home import load
from tests.patterns.stage import Stage
from tests.patterns.steps import Steps, step
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


def case(key: str, topic: str, *more: object) -> Any:
    """Run a test for this pattern on this broker."""
    return pytest.param(key, topic, *more, id=f"{key}-{topic}", marks=pytest.mark.broker(key))


def of(key: str, *topics: str) -> pytest.MarkDecorator:
    """Run the test for these patterns on this broker."""
    mark = pytest.mark.broker(key)
    cases = [pytest.param(topic, id=f"{key}-{topic}", marks=mark) for topic in topics]
    return pytest.mark.parametrize("topic", cases)


def loaded(topic: str, key: str, folder: Path) -> Any:
    """Return a copy of a pattern's snippet as a module."""
    return load(download(SNIPPETS / "patterns" / topic / f"on_{key}.py", folder))


@pytest.mark.parametrize(
    ("key", "topic", "task"),
    [
        case("minibroker", "work_queue", CAT),
        case("rabbitmq", "partitioned_consumers", ("cat.mp4", CAT)),
    ],
)
def test_a_task_without_its_queue_is_refused(
    key: str, topic: str, task: object, opens: Opens
) -> None:
    with opens(topic, key) as stage:
        lost = stage.spawn("submit", mode="fail", tasks=[task])
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


@pytest.mark.parametrize(
    ("key", "topic"),
    [case(key, "backpressure") for key in ("minibroker", "nats", "redis", "postgresql")],
)
def test_a_worker_does_no_more_than_its_limit(key: str, topic: str, opens: Opens) -> None:
    with opens(topic, key) as stage:
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


@of("postgresql", "work_queue")
def test_an_idle_worker_keeps_no_transaction_open(
    topic: str, opens: Opens, server: Server | None
) -> None:
    assert server
    with opens(topic, "postgresql") as stage, psycopg.connect(server.address) as db:
        db.autocommit = True
        stage.call("declare")
        worker = stage.spawn("work", worker="A")
        query = "SELECT 1 FROM pg_stat_activity WHERE (state, query) = ('idle', 'ROLLBACK')"
        assert stage.happens(lambda: bool(db.execute(query).fetchone()), worker)


@of("nats", "backpressure")
def test_what_a_queue_will_never_take_is_no_full_queue(
    topic: str, opens: Opens, server: Server | None
) -> None:
    assert server

    async def take_short_ones(url: str) -> None:
        async with await nats.connect(url) as client:
            jetstream = client.jetstream()
            config = (await jetstream.stream_info("transcode")).config
            config.max_msg_size = 3
            await jetstream.update_stream(config)

    with opens(topic, "nats") as stage:
        stage.call("declare")
        asyncio.run(take_short_ones(server.address))
        publisher = stage.spawn("submit", mode="fail", tasks=["cat.mp4"], patience=0.5)
        assert stage.happens(lambda: publisher.ended, publisher)
        assert "message size exceeds maximum" in publisher.error


@of("redis", "backpressure", "work_queue")
def test_a_publisher_is_told_that_the_disk_is_late(
    topic: str, opens: Opens, server: Server | None
) -> None:
    assert server
    with opens(topic, "redis") as stage, Redis.from_url(server.address) as redis:
        stage.replace("FSYNC = 10_000", "FSYNC = 50")
        stage.call("declare")
        redis.config_set("appendfsync", "no")  # The kernel writes it later: after 30 s or so.
        try:
            publisher = stage.spawn("submit", mode="fail", tasks=[CAT])
            assert stage.happens(lambda: publisher.ended, publisher)
        finally:
            redis.config_set("appendfsync", "everysec")
        assert "not on the server's disk" in publisher.error


@of("nats", "request_reply")
def test_a_replier_publishes_to_inboxes_only(
    topic: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", server.address)
    snippet = loaded(topic, "nats", tmp_path)

    async def handle(video: str) -> str:
        return f"{video}: done"

    async def main() -> None:
        replier = asyncio.create_task(snippet.serve("A", handle))
        async with snippet.requestor() as request, snippet.connect() as client:
            invoices = await client.subscribe("invoices")
            assert await request("cat", 20) == "cat: done"
            until = {"deadline": str(time.time() + 60)}
            await client.publish(snippet.REQUESTS, b"fox", "invoices", headers=until)
            # It is the client's own request: what the replier sent before it is here by then.
            reply = await client.request(snippet.REQUESTS, b"dog", 20, headers=until)
            assert reply.data == b"dog: done"
            assert not invoices.pending_msgs
        assert not replier.done()
        replier.cancel()

    asyncio.run(main())


@of("postgresql", "partitioned_consumers")
def test_publishers_of_one_key_take_turns(topic: str, opens: Opens) -> None:
    with opens(topic, "postgresql") as stage:
        steps, insert = Steps(stage), "await db.execute(INSERT, [key, body])"
        stage.replace(insert, f"{insert}\n            {step('inserted')}")
        stage.call("declare")
        first = steps.stop_at("inserted", "submit", tasks=[("fox", "upload fox")])
        second = stage.spawn("submit", tasks=[("fox", "notify fox")])
        # As long as the first has not committed, a lower number may come after a higher one.
        assert stage.stays(lambda: not second.ended, 0.5)
        steps.go_on("inserted")
        assert stage.happens(lambda: first.returned and second.returned, first, second)


@of("nats", "delayed_retry")
def test_a_task_whose_last_worker_died_is_not_tried_again(
    topic: str, opens: Opens, server: Server | None
) -> None:
    assert server

    async def die(times: int, url: str) -> None:
        async with await nats.connect(url) as client:
            source = await client.jetstream().pull_subscribe_bind("workers", "transcode")
            for _ in range(times):
                [message] = await source.fetch(1, timeout=20)
                await message.nak()

    with opens(topic, "nats") as stage:
        stage.call("declare")
        stage.call("submit", messages=[CAT])
        asyncio.run(die(3, server.address))
        worker = stage.spawn("work", worker="A", limit=1)
        assert stage.happens(lambda: worker.returned, worker)
        assert not worker.taken
        assert [letter[0] for letter in stage.call("dead")] == [CAT]


@of("kafka", "transactional_outbox")
def test_a_batch_is_published_when_all_of_it_is_confirmed(
    topic: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", server.address)
    snippet = loaded(topic, "kafka", tmp_path)

    async def main() -> None:
        videos = NewTopic("videos", 1, 1, topic_configs={"max.message.bytes": "100"})
        await ask(server.address, lambda admin: admin.create_topics([videos]))
        async with snippet.connect() as producer:
            publish = snippet.publisher(producer)
            await publish([(1, "uploaded cat.mp4")])
            with pytest.raises(MessageSizeTooLargeError):
                await publish([(2, "uploaded " + "dog" * 99)])

    asyncio.run(main())


@of("mqtt", "partitioned_consumers")
def test_producers_on_one_connection_each_learn_which_partitions_there_are(
    topic: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_URL", server.address)
    snippet = loaded(topic, "mqtt", tmp_path)

    async def main() -> None:
        await snippet.declare()
        async with snippet.connect() as client:
            async with asyncio.TaskGroup() as producers:
                for each in range(9):
                    producers.create_task(snippet.submit(client, [("fox", f"upload {each}")]))
            for number, worker in enumerate(snippet.WORKERS):
                async with snippet.connect(worker, snippet.SESSION_SECONDS) as session:
                    await session.unsubscribe(f"{snippet.CHANNEL}/{number}")
            with pytest.raises(LookupError, match="has no session: declare"):
                await snippet.submit(client, [("fox", "upload fox")])

    asyncio.run(main())
