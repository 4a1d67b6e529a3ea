"""Workers end with an error, and do not wait for ever, when they will get nothing any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.patterns.stage import Stage


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_worker_of_partitions_that_nobody_declared(server: Server, tmp_path: Path) -> None:
    with Stage.of("patterns/partitioned_consumers", "rabbitmq", server, tmp_path) as stage:
        worker = stage.spawn("work", worker="A")
        assert stage.happens(lambda: "call declare() first" in worker.error, worker)


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize(
    ("topic", "declare", "work", "queue"),
    [
        ("work_queue", ("declare", {}), ("work", {"worker": "A"}), "transcode"),
        (
            "publish_subscribe",
            ("subscribe", {"subscriber": "notifier"}),
            ("receive", {"subscriber": "notifier"}),
            "videos.notifier",
        ),
        ("partitioned_consumers", ("declare", {}), ("work", {"worker": "A"}), "videos.0"),
        ("backpressure", ("declare", {}), ("work", {"worker": "A"}), "transcode"),
        ("delayed_retry", ("declare", {}), ("work", {"worker": "A"}), "transcode"),
    ],
    ids=["work-queue", "publish-subscribe", "partitioned-consumers", "backpressure", "retry"],
)
def test_rabbitmq_worker_whose_consumer_was_cancelled(
    topic: str,
    declare: tuple[str, dict[str, Any]],
    work: tuple[str, dict[str, Any]],
    queue: str,
    server: Server,
    tmp_path: Path,
) -> None:
    assert isinstance(server, Rabbitmq)
    with Stage.of(f"patterns/{topic}", "rabbitmq", server, tmp_path) as stage:
        stage.call(declare[0], **declare[1])
        worker = stage.spawn(work[0], **work[1])
        wait_until(lambda: asyncio.run(consumers(server.address, queue)) > 0, "the consumer")
        server.ask(f"queues/%2F/{queue}", "DELETE")
        assert stage.happens(lambda: "ConnectionError" in worker.error, worker)


async def consumers(address: str, queue: str) -> int:
    """Ask the queue itself: the management API's list still has consumers of a test before."""
    async with await aio_pika.connect(address) as connection:
        channel = await connection.channel()
        found = await channel.declare_queue(queue, passive=True)
        return found.declaration_result.consumer_count or 0
