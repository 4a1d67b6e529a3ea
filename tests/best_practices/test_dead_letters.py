"""What becomes of dead letters on RabbitMQ: the page's table, and how often they are sent back."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from tests.brokers import Server
from tests.brokers.clients import comes
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

LETTERS = 6
#: By the first queue's strategy and the channel's type: letters in the channel, and still waiting.
TABLE = {
    ("at-most-once", "classic"): (1, 0),
    ("at-most-once", "quorum"): (6, 0),
    ("at-most-once", "missing"): (0, 0),
    ("at-least-once", "classic"): (1, 5),
    ("at-least-once", "quorum"): (2, 4),
    ("at-least-once", "missing"): (0, 6),
}


async def bury(channel: AbstractChannel, strategy: str, kind: str) -> None:
    """Reject messages of a queue whose dead letter channel has room for one, or is missing.

    One by one: a quorum queue takes whatever is on its way before it says that it is full.
    """
    name = f"{strategy}-{kind}"
    room, _ = TABLE[strategy, kind]
    if kind != "missing":
        full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        full["x-queue-type"] = kind
        await channel.declare_queue(f"{name}.dead", durable=True, arguments=full)
    queue = await channel.declare_queue(
        name,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{name}.dead",
            "x-dead-letter-strategy": strategy,
            "x-overflow": "reject-publish",
        },
    )
    for number in range(1, LETTERS + 1):
        await channel.default_exchange.publish(aio_pika.Message(b"owl.mp4"), name)
        message = await queue.get()
        await message.reject(requeue=False)

        async def has_come(letters: int = min(number, room)) -> bool:
            dead = await channel.declare_queue(f"{name}.dead", passive=True)
            return (dead.declaration_result.message_count or 0) >= letters

        if kind != "missing":
            await comes(has_come)


@pytest.mark.broker("rabbitmq")
def test_rabbitmq_dead_letters_for_a_channel_that_is_full_or_missing(server: Server) -> None:
    assert isinstance(server, Rabbitmq)

    async def reject() -> None:
        async with await aio_pika.connect(server.address) as connection:
            for strategy, kind in TABLE:
                await bury(await connection.channel(), strategy, kind)

    def seen() -> dict[tuple[str, str], tuple[int, int]]:
        found = {queue["name"]: queue.get("messages") for queue in server.ask("queues")}
        return {
            (strategy, kind): (found.get(f"{strategy}-{kind}.dead", 0), found[f"{strategy}-{kind}"])
            for strategy, kind in TABLE
        }

    # The dead letters that wait still count as messages of the first queue.
    asyncio.run(reject())
    wait_until(lambda: seen() == TABLE, "the table")


@pytest.mark.broker("rabbitmq")
def test_a_letter_is_sent_back_twice_with_its_id_and_then_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    snippet: Any = load(SNIPPETS / "best_practices" / "redrive" / "on_rabbitmq.py")
    client: Any = sys.modules["rabbitmq_client"]
    monkeypatch.setattr(client, "URL", server.address)

    async def proof() -> None:
        async with snippet.connect() as channel:
            await snippet.declare_queue(channel, snippet.QUEUE, {})
            await snippet.declare_queue(channel, snippet.DEAD, {"x-delivery-limit": -1})
            headers = {"reason": "codec", "redriven": "often"}  # as another program may write it
            await snippet.publish(
                channel, snippet.DEAD, b"cat.mp4", message_id="m-17", headers=headers
            )
            for times in (1, 2):
                assert await snippet.redrive(channel, lambda _: True, 50, 10) == 1
                [message] = await client.look(channel, snippet.QUEUE, 1)
                assert (message.message_id, message.headers["redriven"]) == ("m-17", times)
                await snippet.forward(channel, snippet.DEAD, message, {})  # it has failed again
                await message.ack()
            assert await snippet.redrive(channel, lambda _: True, 50, 10) == 0
            assert await snippet.triage(channel) == {"codec": 1}

    asyncio.run(proof())
