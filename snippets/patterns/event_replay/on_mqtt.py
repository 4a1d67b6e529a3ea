# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""No event replay on MQTT: who comes late gets the last of each topic."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from mqtt_session import Session, connect, run

VIEWS, WEEK = "views", 7 * 24 * 3600  # seconds that a session waits
ADDED = {"kind": "viewed", "country": "unknown"}  # Old events lack these.
State = dict[str, Any]
Handler = Callable[[str], Awaitable[None]]


def take(state: State, topic: str, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    try:
        event = ADDED | json.loads(body.decode())  # It ignores more fields.
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][topic] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    Path(f"{file}.new").write_text(json.dumps(state))
    Path(f"{file}.new").replace(file)  # the whole state, or nothing of it


async def publish(client: Session, events: Sequence[str]) -> None:
    for event in events:
        body = event.encode(errors="surrogateescape")
        try:  # a topic for each video, which keeps its last event
            name = quote(json.loads(event)["video"], safe="")
        except Exception:
            name = uuid4().hex
        await client.publish(f"{VIEWS}/{name}", body, retain=True)


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "views": {}, "ignored": {}, "aside": {}}
    name, end = Path(file).stem, f"replayed/{uuid4()}"
    async with connect(name):  # No expiry: this ends the session there is.
        pass
    async with connect(name, WEEK) as session:
        await session.subscribe(end)
        await session.subscribe(f"{VIEWS}/+")
        await session.publish(end)  # It comes behind the retained ones.
        async for message in session.messages(seconds=30):
            session.ack(message)
            if message.topic == end:
                break
            take(state, message.topic, bytes(message.payload))
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    async with connect(Path(file).stem, WEEK) as session:
        if not session.present:  # a killed server may have forgotten it
            raise LookupError(f"no session for {file}: call replay()")
        done = 0
        while not limit or done < limit:
            message = await anext(session.messages())
            if take(state, message.topic, bytes(message.payload)):
                await handle(message.payload.decode())
                done += 1
            save(file, state)
            session.ack(message)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", event)

    with TemporaryDirectory() as folder:
        await replay(f"{folder}/live")  # a reader begins with one
        async with connect() as client:
            await publish(client, ['{"video":"cat"}', '{"video":"cat","n":2}'])
        print("live:", await follow(f"{folder}/live", notify, limit=2))
        print("new:", await replay(f"{folder}/new"))


if __name__ == "__main__":
    run(main)
