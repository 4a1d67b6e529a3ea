# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Partitioned consumers on RabbitMQ: the tasks of a key stay in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from zlib import crc32

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from rabbitmq_client import connect, declare_queue, publish, run, text

CHANNEL = "videos"
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(channel: AbstractChannel, partitions: int = 2) -> None:
    one = {"x-single-active-consumer": True}
    for number in range(partitions):
        await declare_queue(channel, f"{CHANNEL}.{number}", one)


async def queues(channel: AbstractChannel) -> list[str]:
    # On a channel of its own: a queue that does not exist closes it.
    underlay = await channel.get_underlay_channel()
    probe = await underlay.connection.channel()
    found: list[str] = []
    with suppress(ChannelNotFoundEntity):
        while name := f"{CHANNEL}.{len(found)}":
            await probe.queue_declare(name, passive=True)
            found.append(name)
    if not found:
        raise LookupError("no queue: call declare() first")
    return found


async def submit(
    channel: AbstractChannel, tasks: Sequence[tuple[str, str]]
) -> None:
    names = await queues(channel)
    for key, task in tasks:
        # Not hash(): it gives each process another number for one key.
        name = names[crc32(key.encode()) % len(names)]
        await publish(channel, name, task.encode())


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    done = count(1)

    async def serve(channel: AbstractChannel, name: str) -> None:
        queue = await channel.get_queue(name)
        # All priorities equal: the first worker would get every queue.
        # These differ from queue to queue, and spread the queues.
        wish = {"x-priority": crc32(f"{name} {worker}".encode()) % 256}
        async with queue.iterator(arguments=wish) as messages:
            async for message in messages:
                task = text(message)
                await handle(task)
                await message.ack()
                if next(done) == limit:
                    return

    # A connection of its own: as it ends, what the worker holds goes back.
    async with connect() as channel:
        await channel.set_qos(prefetch_count=1)  # It is for each consumer.
        names = await queues(channel)
        # Side by side: a task that hangs holds up its own queue only.
        serving = [asyncio.create_task(serve(channel, one)) for one in names]
        try:
            await next(asyncio.as_completed(serving))
        finally:
            all_of_them = asyncio.gather(*serving, return_exceptions=True)
            all_of_them.cancel()
            await asyncio.wait(serving)


async def main() -> None:
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    async with connect() as channel:
        await declare(channel)
        await submit(channel, TASKS[:4])
        try:
            await work("A", note)
        except RuntimeError as error:
            print("A:", ", ".join(handled), "...", error)
        await submit(channel, TASKS[4:])
    await work("B", note, limit=7)
    for key in ("fox", "owl"):
        print("B:", ", ".join(task for task in handled[2:] if key in task))


if __name__ == "__main__":
    run(main)
