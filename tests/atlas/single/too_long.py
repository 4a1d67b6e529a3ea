"""The queue reaches its greatest length."""

from __future__ import annotations

import asyncio

import aio_pika
import redis
from aio_pika.exceptions import DeliveryError

from tests.atlas.single.trial import Documented, Numbers, trial
from tests.brokers import Server

ASKED = "too-long"
MOST, PUBLISHED = 10, 15


async def _publish_to(server: Server, **arguments: str) -> tuple[int, list[int]]:
    """Publish to a queue of RabbitMQ's; return how many were confirmed, and what is there."""
    confirmed = 0
    async with await aio_pika.connect(server.address) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("videos", arguments={"x-max-length": MOST, **arguments})
        for number in range(PUBLISHED):
            try:
                await channel.default_exchange.publish(aio_pika.Message(b"%d" % number), queue.name)
            except DeliveryError:
                continue
            confirmed += 1
        there = []
        while message := await queue.get(no_ack=True, fail=False):
            there.append(int(message.body))
    return confirmed, there


@trial(
    ASKED,
    "rabbitmq",
    "`x-max-length`, `x-overflow: drop-head`",
    default=True,
    holds=False,
    short="{dropped} confirmed and dropped",
    says="All {confirmed} messages were confirmed, and the oldest {dropped} of them were dropped.",
    documented=Documented(
        agrees=True,
        says="The default behaviour is to drop or dead-letter messages from the front of the queue.",
        source="https://www.rabbitmq.com/docs/maxlength",
    ),
)
def rabbitmq_drop_head(server: Server) -> Numbers:
    confirmed, there = asyncio.run(_publish_to(server))
    assert confirmed == PUBLISHED
    assert there == [*range(PUBLISHED - MOST, PUBLISHED)]
    return {"confirmed": confirmed, "dropped": confirmed - len(there)}


@trial(
    ASKED,
    "rabbitmq",
    "`x-max-length`, `x-overflow: reject-publish`",
    holds=True,
    short="{refused} refused",
    says="{confirmed} messages were confirmed and kept, and the producer was told that {refused} were refused.",
)
def rabbitmq_reject_publish(server: Server) -> Numbers:
    confirmed, there = asyncio.run(_publish_to(server, **{"x-overflow": "reject-publish"}))
    assert there == [*range(confirmed)]
    return {"confirmed": confirmed, "refused": PUBLISHED - confirmed}


@trial(
    ASKED,
    "redis",
    "`XADD … MAXLEN = 10`",
    holds=False,
    short="{dropped} dropped",
    says="Each `XADD` was answered, and the oldest {dropped} entries were gone, whether a group had read them or not.",
)
def redis_maxlen(server: Server) -> Numbers:
    with redis.Redis.from_url(server.address) as client:
        for number in range(PUBLISHED):
            assert client.xadd("videos", {"number": number}, maxlen=MOST, approximate=False)
        there = [int(fields[b"number"]) for _, fields in client.xrange("videos")]
    assert there == [*range(PUBLISHED - MOST, PUBLISHED)]
    return {"dropped": PUBLISHED - len(there)}
