# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Event replay on RabbitMQ: a stream, read from its first offset."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from aio_pika import Message, connect
from aio_pika.abc import AbstractChannel, AbstractQueue

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
VIEWS = "views"
# Fields that events got later, and what stands for them in older events.
ADDED = {"kind": "viewed", "country": "unknown"}
EVENTS = [
    '{"video":"cat.mp4"}',
    '{"video":"dog.mp4","country":"AT"}',
    '{"kind":"liked","video":"dog.mp4"}',
    "viewed dog.mp4",
    '{"video":"cat.mp4","country":"AT"}',
]

State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, position: int, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position + 1  # where to go on
    try:
        event = ADDED | json.loads(body.decode())  # more fields: ignored
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][str(position)] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # the views and the position together, or neither


async def _stream(channel: AbstractChannel) -> AbstractQueue:
    # Without x-max-age and x-max-length-bytes, it keeps everything.
    return await channel.declare_queue(
        VIEWS, durable=True, arguments={"x-queue-type": "stream"}
    )


async def publish(events: Sequence[str]) -> None:
    async with await connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await _stream(channel)
        for event in events:
            body = event.encode(errors="surrogateescape")
            await channel.default_exchange.publish(Message(body), VIEWS)


async def _read(
    position: int, mark: str = ""
) -> AsyncGenerator[tuple[int, bytes]]:
    async with await connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=100)  # a stream insists on it
        stream = await _stream(channel)
        if mark:  # nothing in AMQP 0-9-1 says where the stream ends now
            end = Message(b"", headers={"mark": mark})
            await channel.default_exchange.publish(end, VIEWS)
        # Without this, aio-pika waits for ever if the stream is deleted.
        ends: list[asyncio.Task[None]] = []
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(
            lambda _: ends.append(asyncio.create_task(connection.close()))
        )
        begin = {"x-stream-offset": position}
        async with stream.iterator(arguments=begin) as messages:
            async for message in messages:
                await message.ack()  # asks for more; the stream keeps it
                found = message.headers.get("mark", "")
                if found and found == mark:
                    return
                if not found:
                    offset: Any = message.headers["x-stream-offset"]
                    yield offset, message.body
        raise ConnectionError("RabbitMQ sends nothing any more")


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    async for position, body in _read(state["at"], uuid4().hex):
        take(state, position, body)
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    async with aclosing(_read(state["at"])) as events:
        while not limit or done < limit:
            position, body = await anext(events)
            if take(state, position, body):
                await handle(body.decode())
                done += 1
            save(file, state)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay: here, of nothing
        await publish(EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    asyncio.run(main())
