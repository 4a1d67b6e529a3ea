# /// script
# requires-python = ">=3.11"
# dependencies = ["aio-pika>=10"]
# ///
"""Event replay on RabbitMQ: a stream, read from its first offset."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from aio_pika.abc import AbstractChannel, AbstractQueue

from rabbitmq_client import connect, raw, run
from rabbitmq_client import publish as publish_one

VIEWS = "views"
ADDED = {"kind": "viewed", "country": "unknown"}  # Older events lack them.
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
    state["at"] = position + 1  # It says where to go on.
    try:
        event = ADDED | json.loads(body.decode())  # It ignores more fields.
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
    new.replace(file)  # It changes both together, or neither.


async def _stream(channel: AbstractChannel) -> AbstractQueue:
    # Without x-max-age and x-max-length-bytes, it keeps everything.
    return await channel.declare_queue(
        VIEWS, durable=True, arguments={"x-queue-type": "stream"}
    )


async def publish(channel: AbstractChannel, events: Sequence[str]) -> None:
    await _stream(channel)
    for event in events:
        await publish_one(channel, VIEWS, raw(event))


async def _read(
    position: int, mark: str = ""
) -> AsyncGenerator[tuple[int, bytes]]:
    async with connect() as channel:
        await channel.set_qos(prefetch_count=100)  # a stream insists on it
        stream = await _stream(channel)
        if mark:  # nothing in AMQP 0-9-1 says where the stream ends now
            await publish_one(channel, VIEWS, b"", headers={"mark": mark})
        begin = {"x-stream-offset": position}
        async with stream.iterator(arguments=begin) as messages:
            async for message in messages:
                await message.ack()  # It asks for more; the stream keeps it.
                found = message.headers.get("mark", "")
                if found and found == mark:
                    return
                # Headers that can't be read are missing, and this one too.
                offset: Any = message.headers.get("x-stream-offset", position)
                position = offset + 1
                if not found:
                    yield offset, message.body


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
        async with connect() as channel:
            await publish(channel, EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    run(main)
