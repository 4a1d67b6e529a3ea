"""A compensation that fails is neither decided nor lost: it comes again, then to a person."""

from __future__ import annotations

import asyncio
import sys
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
    failures: int, ends_as: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga: Any = load(SNIPPET)
    monkeypatch.setattr(sys.modules["rabbitmq_client"], "URL", server.address)
    tried = 0

    def refund(_booking: str, _action: str) -> bool:
        nonlocal tried
        tried += 1
        return tried > failures

    async def proof() -> None:
        async with await aio_pika.connect(server.address) as connection:
            channel = await connection.channel(on_return_raises=True)
            for service, reactions in saga.SAGA.items():
                await saga.inbox(channel, service, *reactions)
            await saga.tell(channel, "refused", "owl 1")
            billing = asyncio.create_task(saga.keep_up("billing", refund, set()))
            found = await channel.get_queue(f"{saga.EVENTS}.{ends_as}")

            async def has_come() -> bool:
                message = await found.get(fail=False)
                return message is not None and message.body == b"owl 1"

            await comes(has_come, 120)  # 21 connections, one after another
            billing.cancel()
            await asyncio.gather(billing, return_exceptions=True)

    asyncio.run(proof())
    assert tried == (failures + 1 if ends_as == "studio" else 21)


@pytest.mark.broker("rabbitmq")
def test_the_services_go_on_after_a_restart(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    saga: Any = load(SNIPPET)
    monkeypatch.setattr(sys.modules["rabbitmq_client"], "URL", server.address)

    async def book(booking: str) -> str:
        """Book, and return how it ended."""
        async with saga.connect() as channel:
            ends = await saga.inbox(channel, "ends", "announced", "cancelled")
            await saga.tell(channel, "booked", booking)
            async with ends.iterator(timeout=90) as ended:
                async for message in ended:
                    await message.ack()
                    if message.body.decode() == booking:
                        return str(message.routing_key)
        raise AssertionError("it has no end")

    async def proof() -> None:
        async with saga.connect() as channel:
            for service, reactions in saga.SAGA.items():
                await saga.inbox(channel, service, *reactions)
        services = [
            asyncio.create_task(saga.keep_up(service, lambda *_: True, set()))
            for service in saga.SAGA
        ]
        assert await book("cat 1") == "announced"
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await book("cat 2") == "announced"
        assert not any(service.done() for service in services)
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)

    asyncio.run(proof())
