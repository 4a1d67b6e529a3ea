"""What a use case's consumer fails at 21 times is kept in the queue that its code names."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aio_pika
import pytest

from tests.brokers import Server
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

#: The default delivery limit of a quorum queue is 20 failures.
DELIVERIES = 21
BODY = b"\xff"


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize(
    ("use_case", "queue", "dead"),
    [
        ("notifications", "premieres", "failed"),
        ("notifications", "mail", "failed"),
        ("notifications", "phone", "expired"),
        ("load_levelling", "transcode-burst", "transcode-burst.dead"),
    ],
)
def test_what_fails_too_often_is_kept(
    use_case: str, queue: str, dead: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    snippet: Any = load(SNIPPETS / "use_cases" / use_case / "on_rabbitmq.py")
    monkeypatch.setattr(sys.modules["rabbitmq_client"], "URL", server.address)

    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel()
            await snippet.declare(channel)
            await channel.default_exchange.publish(aio_pika.Message(BODY), queue)
            waiting = await channel.get_queue(queue)
            letters = await channel.get_queue(dead)
            async with waiting.iterator(timeout=60) as messages:
                for _ in range(DELIVERIES):
                    # A nack counts on 4.0 only, a reject everywhere.
                    await (await anext(messages)).reject(requeue=True)
                async with letters.iterator(timeout=60) as kept:
                    letter = await anext(kept)
                    await letter.ack()
            assert letter.body == BODY
            deaths: Any = letter.headers["x-death"]
            assert deaths[0]["reason"] == "delivery_limit"

    asyncio.run(proof())
