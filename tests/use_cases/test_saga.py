"""A compensation that fails is neither decided nor lost: it comes again, then to a person."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

SNIPPET = SNIPPETS / "use_cases" / "event_driven_services" / "on_rabbitmq.py"


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize(("failures", "ends_as"), [(3, "studio"), (100, "dead")])
def test_a_compensation_is_tried_again_and_then_kept(
    failures: int, ends_as: str, server: Server
) -> None:
    saga: Any = load(SNIPPET)
    saga.URL = server.address
    tried = 0

    def refund(_video: str, _action: str) -> bool:
        nonlocal tried
        tried += 1
        return tried > failures

    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel(on_return_raises=True)
            for service, reactions in saga.SAGA.items():
                await saga.inbox(channel, service, *reactions)
            await saga.tell(channel, "refused", "owl.mp4")
            billing = asyncio.create_task(saga.keep_up("billing", refund, set()))
            found = await channel.get_queue(f"{saga.EVENTS}.{ends_as}")

            async def has_come() -> bool:
                message = await found.get(fail=False)
                return message is not None and message.body == b"owl.mp4"

            await comes(has_come)
            billing.cancel()
            await asyncio.gather(billing, return_exceptions=True)

    asyncio.run(proof())
    assert tried == (failures + 1 if ends_as == "studio" else 21)
