"""What a failed message does to the order, with one message in flight and with three."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import nats
import pytest
from nats.errors import TimeoutError as NothingCameError
from nats.js.api import ConsumerConfig

from tests.brokers import Server

STEPS = ["upload", "transcode", "thumbnail", "notify"]


async def rabbitmq(server: Server, in_flight: int, kind: str = "quorum") -> list[str]:
    done: list[str] = []
    failed = False
    async with await aio_pika.connect(server.address) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=in_flight)
        arguments: dict[str, Any] = {"x-queue-type": kind}
        queue = await channel.declare_queue("steps", durable=True, arguments=arguments)
        for step in STEPS:
            await channel.default_exchange.publish(aio_pika.Message(step.encode()), "steps")
        async with asyncio.timeout(60), queue.iterator() as messages:
            held = []
            async for message in messages:
                held.append(message)
                if len(held) < min(in_flight, len(STEPS) - len(done)) and not failed:
                    continue
                for one in held:
                    if one.body == b"upload" and not failed:
                        failed = True
                        await one.nack()
                    else:
                        done.append(one.body.decode())
                        await one.ack()
                held = []
                if len(done) == len(STEPS):
                    break
    return done


async def jetstream(server: Server, in_flight: int) -> list[str]:
    done: list[str] = []
    failed = False
    async with await nats.connect(server.address) as connection:
        stream = connection.jetstream()
        await stream.add_stream(name="steps", subjects=["steps"])
        for step in STEPS:
            await stream.publish("steps", step.encode())
        config = ConsumerConfig(max_ack_pending=in_flight)
        consumer = await stream.pull_subscribe("steps", durable="worker", config=config)
        while len(done) < len(STEPS):
            try:
                messages = await consumer.fetch(in_flight, timeout=0.5)
            except NothingCameError:
                continue
            for message in messages:
                if message.data == b"upload" and not failed:
                    failed = True
                    await message.nak()
                else:
                    done.append(message.data.decode())
                    await message.ack_sync(timeout=60)
    return done


@pytest.mark.broker("rabbitmq")
@pytest.mark.parametrize("kind", ["quorum", "classic"])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_rabbitmq_failed_message_is_overtaken_by_what_was_in_flight(
    in_flight: int, kind: str, server: Server
) -> None:
    done = asyncio.run(rabbitmq(server, in_flight, kind))
    assert (done == STEPS) == (in_flight == 1)


@pytest.mark.broker("nats")
@pytest.mark.parametrize("in_flight", [1, 3])
def test_nats_failed_message_is_overtaken_by_what_was_in_flight(
    in_flight: int, server: Server
) -> None:
    done = asyncio.run(jetstream(server, in_flight))
    assert (done == STEPS) == (in_flight == 1)
