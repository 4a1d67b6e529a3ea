"""A full queue refuses, a missing one is an error, and a worker whose queue is gone says so."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from aio_pika.exceptions import PublishError

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS


@pytest.fixture
def snippet(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load(SNIPPETS / "use_cases" / "load_levelling" / "on_rabbitmq.py")
    monkeypatch.setattr(sys.modules["rabbitmq_client"], "URL", server.address)
    return module


@pytest.mark.broker("rabbitmq")
def test_a_queue_that_is_missing_is_not_taken_for_a_full_one(snippet: Any) -> None:
    async def proof() -> None:
        async with snippet.connect() as channel:
            with pytest.raises(PublishError):
                await snippet.upload(channel, ["cat.mp4"])
            await snippet.declare(channel)
            assert await snippet.upload(channel, ["cat.mp4"]) == []

    asyncio.run(proof())


@pytest.mark.broker("rabbitmq")
def test_a_worker_whose_queue_is_gone_raises(snippet: Any) -> None:
    async def proof() -> None:
        async with snippet.connect() as channel:
            await snippet.declare(channel)
            working = asyncio.create_task(snippet.Pool().worker(1))

            async def at_work() -> bool:
                queue = await channel.get_queue(snippet.QUEUE)
                return bool(queue.declaration_result.consumer_count)

            await comes(at_work)
            await channel.queue_delete(snippet.QUEUE)
            with pytest.raises(ConnectionError, match="has cancelled a consumer"):
                await asyncio.wait_for(working, 60)

    asyncio.run(proof())
