"""What a use case can't read stops nobody, and is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import kafka_client
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.brokers import Server
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

VIEW = b'[5, "cat"]'
NO_VIEWS = [
    b"",
    b"\xff",
    b"{",
    b"null",
    b"[5]",
    b'[5, "cat", 1]',
    b'[null, "cat"]',
    b"[5, null]",
    b'[Infinity, "cat"]',
    b'[NaN, "cat"]',
    b'[5, "\\ud800"]',
    b'{"at": 5, "video": "cat"}',
]
LINE = b"web ERROR 1 disk full"
NO_LINES = [b"", b"\xff", b"web", b"web ERROR one x", b"web FATAL 1 x", b"web ERROR " + b"9" * 5000]


def use_case(name: str, server: Server) -> Any:
    snippet: Any = load(SNIPPETS / "use_cases" / name / "on_kafka.py")
    snippet.BOOTSTRAP = server.address
    kafka_client.SERVERS["bootstrap_servers"] = server.address
    return snippet


async def publish(server: Server, topic: str, bodies: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=server.address) as producer:
        for body in bodies:
            # One without a body has a key: this client sends no record with neither.
            await producer.send_and_wait(topic, body or None, None if body else b"cat")


async def kept(server: Server, topic: str, number: int) -> list[bytes]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=server.address, auto_offset_reset="earliest"
    ) as consumer:
        return [(await anext(consumer)).value for _ in range(number)]


@pytest.mark.broker("kafka")
def test_a_malformed_view_is_set_aside_and_the_others_count(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async def proof() -> list[bytes]:
        views = use_case("stream_processing", server)
        await views.declare()
        await publish(server, views.VIEWS, [VIEW, *NO_VIEWS, VIEW])
        await views.count(limit=len(NO_VIEWS) + 2)
        await views.count(limit=0)
        return await kept(server, views.MALFORMED, len(NO_VIEWS))

    assert asyncio.run(proof()) == NO_VIEWS
    assert capsys.readouterr().out.endswith("read back: {'cat from 0': 2, 'clock': 5}\n")


@pytest.mark.broker("kafka")
def test_what_is_no_count_stops_no_counter(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    async def proof() -> None:
        views = use_case("stream_processing", server)
        await views.declare()
        async with AIOKafkaProducer(bootstrap_servers=server.address) as producer:
            for key, value in ((b"odd", b"{"), (b"\xff", b"1"), (b"cat from 0", None)):
                await producer.send_and_wait(views.COUNTS, value, key)
        await publish(server, views.VIEWS, [VIEW])
        await views.count(limit=1)
        await views.count(limit=0)

    asyncio.run(proof())
    assert capsys.readouterr().out.endswith("read back: {'cat from 0': 1, 'clock': 5}\n")


@pytest.mark.broker("kafka")
def test_a_malformed_line_is_kept_and_the_others_count(server: Server) -> None:
    async def proof() -> tuple[dict[str, tuple[int, int]], list[bytes]]:
        logs = use_case("log_pipelines", server)
        await logs.declare()
        await publish(server, logs.LOGS.topic, [*NO_LINES, LINE])
        counts: tuple[dict[str, tuple[int, int]], list[bytes]] = await logs.collect()
        return counts

    counts, others = asyncio.run(proof())
    assert counts == {"web ERROR": (1, 0)}
    assert others == NO_LINES
