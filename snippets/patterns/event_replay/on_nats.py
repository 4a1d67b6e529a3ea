# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Event replay on NATS JetStream: a new reader begins at sequence 1."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nats.js import JetStreamContext

from nats_client import connect, fetch, present, read_from, run, send

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


async def publish(jetstream: JetStreamContext, events: Sequence[str]) -> None:
    await jetstream.add_stream(name=VIEWS, subjects=[VIEWS])  # kept for ever
    for event in events:
        await send(jetstream, VIEWS, event)  # It awaits the confirm.


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 1, "views": {}, "ignored": {}, "aside": {}}
    async with read_from(VIEWS, state["at"]) as events:
        async for message in present(events):
            take(state, message.metadata.sequence.stream, message.data)
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    async with read_from(VIEWS, state["at"]) as events:
        done = 0
        async for [message] in fetch(events):
            if take(state, message.metadata.sequence.stream, message.data):
                await handle(message.data.decode())
                done += 1
            save(file, state)
            if limit and done == limit:
                break
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay
        async with connect() as jetstream:
            await publish(jetstream, EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    run(main)
