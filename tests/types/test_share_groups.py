"""Kafka's share groups, with the Python client that has them: each record is acknowledged alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import (
    AcknowledgeType,
    Consumer,
    KafkaException,
    Message,
    Producer,
    ShareConsumer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from tests.brokers import Server
from tests.brokers.clients import SECONDS

pytestmark = pytest.mark.broker("kafka")

TOPIC, GROUP, DEAD = "videos", "workers", "dlq.videos"
ACCEPT, RELEASE, REJECT = AcknowledgeType.ACCEPT, AcknowledgeType.RELEASE, AcknowledgeType.REJECT


def create(server: Server, topic: str, **config: str) -> None:
    new = NewTopic(topic, 1, 1, config=dotted(config))
    with AdminClient({"bootstrap.servers": server.address}) as admin:
        for made in admin.create_topics([new]).values():
            made.result(SECONDS)


def configure(server: Server, **config: str) -> None:
    """Set what the server shall do for the group, which need not be there yet."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in dotted(config).items()
    ]
    group = ConfigResource(ResourceType.GROUP, GROUP, incremental_configs=entries)
    with AdminClient({"bootstrap.servers": server.address}) as admin:
        for done in admin.incremental_alter_configs([group]).values():
            done.result(SECONDS)


def configured(server: Server) -> dict[str, str]:
    """Return what the server does for the group."""
    with AdminClient({"bootstrap.servers": server.address}) as admin:
        [found] = admin.describe_configs([ConfigResource(ResourceType.GROUP, GROUP)]).values()
        return {name: entry.value for name, entry in found.result(SECONDS).items()}


def dotted(config: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in config.items()}


def publish(server: Server, *videos: str) -> None:
    """Publish them in one batch, so that one poll gets them."""
    with Producer({"bootstrap.servers": server.address, "linger.ms": 60_000}) as producer:
        for video in videos:
            producer.produce(TOPIC, b"transcode", video, headers={"trace": "7"})
        assert not producer.flush(SECONDS)


@contextmanager
def worker(server: Server) -> Iterator[ShareConsumer]:
    options = {
        "bootstrap.servers": server.address,
        "group.id": GROUP,
        "share.acknowledgement.mode": "explicit",
    }
    with ShareConsumer(options) as consumer:
        consumer.subscribe([TOPIC])
        yield consumer


def take(consumer: ShareConsumer | Consumer) -> dict[str, Message]:
    """Return the next records that come, by what they are about."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if isinstance(consumer, ShareConsumer):
            found = list(consumer.poll(timeout=0.2))
        else:
            found = consumer.consume(1, timeout=0.2)
        if found:
            assert not any(message.error() for message in found)
            return {(message.key() or b"").decode(): message for message in found}
    raise TimeoutError("no record comes")


def counts(some: dict[str, Message]) -> dict[str, int | None]:
    return {video: message.delivery_count() for video, message in some.items()}


def settle(consumer: ShareConsumer, message: Message, how: AcknowledgeType = ACCEPT) -> None:
    consumer.acknowledge(message, how)
    for error in consumer.commit_sync(SECONDS).values():
        if error:
            raise error


def test_a_share_group_acknowledges_counts_and_locks_each_record(server: Server) -> None:
    """After the fifth delivery a record is done with, and so is one that a worker rejects."""
    create(server, TOPIC)
    defaults = configured(server)
    assert defaults["share.delivery.count.limit"] == "5"
    assert defaults["share.record.lock.duration.ms"] == "30000"
    assert defaults["share.auto.offset.reset"] == "latest"
    configure(server, share_auto_offset_reset="earliest")
    publish(server, "ant", "bee", "cat")
    with worker(server) as one:
        found = take(one)
        assert counts(found) == {"ant": 1, "bee": 1, "cat": 1}
        one.acknowledge(found["ant"], ACCEPT)
        one.acknowledge(found["cat"], REJECT)
        settle(one, found["bee"], RELEASE)
        for count in (2, 3, 4, 5):
            found = take(one)
            assert counts(found) == {"bee": count}
            settle(one, found["bee"], RELEASE)
        # What comes next tells that none of the three comes once more.
        publish(server, "dog")
        found = take(one)
        assert counts(found) == {"dog": 1}

        with worker(server) as other:
            one.close()  # it gives back what it holds
            found = take(other)
            assert counts(found) == {"dog": 2}
            settle(other, found["dog"])

            configure(server, share_record_lock_duration_ms="1000")
            publish(server, "elk")
            late = take(other)
            assert counts(late) == {"elk": 1}
            with worker(server) as third:
                assert (take(third)["elk"].delivery_count() or 0) > 1
                with pytest.raises(KafkaException, match="INVALID_RECORD_STATE"):
                    settle(other, late["elk"])


def test_a_share_group_can_have_a_dead_letter_queue_from_4_4(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """It holds the reason, and the record only if the group says so, without its headers."""
    create(server, TOPIC)
    configure(server, share_auto_offset_reset="earliest", share_delivery_count_limit="2")
    if not server.at_least(4, 4):
        with pytest.raises(KafkaException, match="Unknown group config name"):
            configure(server, errors_deadletterqueue_topic_name=DEAD)
        return
    create(server, DEAD, errors_deadletterqueue_group_enable="true")
    configure(server, errors_deadletterqueue_topic_name=DEAD)
    operator = {"bootstrap.servers": server.address, "group.id": "operator"}
    with worker(server) as one, Consumer(operator) as letters:
        letters.assign([TopicPartition(DEAD, 0, 0)])
        publish(server, "ant")
        for _ in range(2):
            settle(one, take(one)["ant"], RELEASE)
        [letter] = take(letters).values()
        assert (letter.key(), letter.value()) == (None, None)
        assert headers(letter) == {
            "topic": TOPIC.encode(),
            "partition": b"0",
            "offset": b"0",
            "group": GROUP.encode(),
            "delivery.count": b"2",
            "message": b"Offset delivery count exceeded the threshold.",
        }

        configure(server, errors_deadletterqueue_copy_record_enable="true")
        publish(server, "bee")
        settle(one, take(one)["bee"], REJECT)
        [letter] = take(letters).values()
        assert (letter.key(), letter.value()) == (b"bee", b"transcode")
        assert headers(letter)["message"] == b"Offset rejected by client."
        assert "trace" not in headers(letter)
    assert "not recommended for production use" in capfd.readouterr().err


def headers(message: Message) -> dict[str, str | bytes | None]:
    """Return its headers, without what each name begins with that the server has set."""
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return {name.removeprefix("__dlq.errors."): value for name, value in pairs}
