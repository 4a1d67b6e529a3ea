"""Two workers share a queue: a slow one begins, and finishes when a fast one has done the rest.

Each function publishes numbers in their order, and returns them as they were done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from aiokafka import AIOKafkaConsumer

from tests.atlas.single import (
    with_kafka,
    with_mqtt,
    with_nats,
    with_postgresql,
    with_rabbitmq,
    with_redis,
)
from tests.brokers import Server
from tests.brokers.clients import comes, jetstream
from tests.brokers.kafka import ask
from tests.brokers.server import wait_until


async def on_rabbitmq(
    server: Server, messages: int, prefetch: int = 0, **arguments: Any
) -> list[int]:
    done: list[int] = []
    held: list[AbstractIncomingMessage] = []

    async def hold(message: AbstractIncomingMessage) -> None:
        held.append(message)

    async def finish(message: AbstractIncomingMessage) -> None:
        await message.ack()
        done.append(int(message.body))

    async def all_came() -> bool:
        return len(held) + len(done) == messages

    async with (
        with_rabbitmq.opened(server.address, prefetch) as slow,
        with_rabbitmq.opened(server.address, prefetch) as fast,
    ):
        queue = await with_rabbitmq.declare(slow, **arguments)
        await queue.consume(hold)
        await (await fast.get_queue(queue.name)).consume(finish)
        await with_rabbitmq.publish(slow, range(messages))
        await comes(all_came)
        for message in held:
            await finish(message)
    return done


async def on_kafka(
    server: Server, messages: int, partitions: int, key: Callable[[int], str] | None = None
) -> tuple[list[int], list[int]]:
    """Return what each of two workers of a group did, that of the last partition first.

    Without keys, the partitions get the messages in turn.
    """
    [place, *_] = await with_kafka.create(server.address, partitions=partitions)

    async def both_are_in() -> bool:
        [said] = await ask(
            server.address, lambda admin: admin.describe_consumer_groups([with_kafka.GROUP])
        )
        [group] = said.groups
        return len(group[5]) == 2 and sum(len(one.assignment()) for one in workers) == partitions

    def last(worker: AIOKafkaConsumer) -> int:
        return max((one.partition for one in worker.assignment()), default=-1)

    begin = partial(with_kafka.consuming, server.address, auto_offset_reset="earliest")
    async with begin() as one, begin() as other, with_kafka.producing(server.address) as producer:
        workers = [one, other]
        await comes(both_are_in)
        workers.sort(key=last, reverse=True)
        for number in range(messages):
            to = {"key": key(number).encode()} if key else {"partition": number % partitions}
            await producer.send_and_wait(place.topic, b"%d" % number, **to)
        done: tuple[list[int], list[int]] = [], []

        async def all_came() -> bool:
            for worker, its in zip(workers, done, strict=True):
                for records in (await worker.getmany(timeout_ms=50)).values():
                    its += [int(record.value) for record in records]
            return sum(map(len, done)) == messages

        await comes(all_came)
    return done


async def on_nats(server: Server, messages: int) -> list[int]:
    async with jetstream(server) as stream:
        await with_nats.publish(stream, *range(messages))
        slow, fast = await with_nats.durable(stream), await with_nats.durable(stream)
        first = await with_nats.take(slow)
        done = []
        for message in await with_nats.take(fast, messages - 1) + first:
            await message.ack_sync()
            done.append(int(message.data))
        return done


def on_redis(server: Server, messages: int) -> list[int]:
    with with_redis.connected(server) as client:
        with_redis.grouped(client)
        with_redis.add(client, *range(messages))
        first = with_redis.read(client, "slow")
        done = []
        for number, body in with_redis.read(client, "fast", messages) + first:
            assert client.xack(with_redis.STREAM, with_redis.GROUP, number) == 1
            done.append(int(body))
        return done


def on_mqtt(server: Server, messages: int) -> list[int]:
    with (
        with_mqtt.session(server, "slow", expiry=600) as slow,
        with_mqtt.session(server, "fast", expiry=600) as fast,
        with_mqtt.session(server) as producer,
    ):
        for worker in (slow, fast):
            worker.subscribe("$share/workers/videos")
        for number in range(messages):
            producer.publish("videos", str(number))
        wait_until(lambda: len(slow.received) + len(fast.received) == messages, "all messages")
        done = []
        for worker in (fast, slow):
            for message in worker.received:
                worker.ack(message)
                done.append(int(message.payload))
            worker.settled()
        return done


def on_postgresql(server: Server, messages: int) -> list[int]:
    done = []
    with with_postgresql.connect(server) as slow, with_postgresql.connect(server) as fast:
        with_postgresql.declare(slow)
        with_postgresql.publish(slow, *map(str, range(messages)))
        with slow.transaction():
            taken = with_postgresql.take(slow)
            assert taken
            while (body := with_postgresql.work(fast)) is not None:
                done.append(int(body))
            with_postgresql.acknowledge(slow, taken[0])
        done.append(int(taken[1]))
    return done
