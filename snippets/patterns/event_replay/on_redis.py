# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Event replay on Redis Streams: a new reader begins at the first entry."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

from redis_client import add, connect, look_behind, run

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


def take(state: State, position: str, body: str) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position  # It goes on behind it.
    try:
        event = ADDED | json.loads(body.encode())  # It must be UTF-8.
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][position] = body
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # It changes both together, or neither.


async def publish(redis: Redis, events: Sequence[str]) -> None:
    # No MAXLEN: everything stays, in memory.
    await add(redis, [(VIEWS, {"event": event}) for event in events])


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    async with connect() as redis:
        while found := await look_behind(redis, VIEWS, state["at"], 100, None):
            for number, fields in found:
                take(state, number, fields.get("event", str(fields)))
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    async with connect() as redis:
        while not limit or done < limit:
            for number, fields in await look_behind(redis, VIEWS, state["at"]):
                body = fields.get("event", str(fields))  # It may lack `event`.
                if take(state, number, body):
                    await handle(body)
                    done += 1
                save(file, state)
    return state


async def main() -> None:
    async def notify(event: str) -> None:
        print("notify:", json.loads(event)["video"])

    with TemporaryDirectory() as folder:
        live, new = f"{folder}/live.json", f"{folder}/new.json"
        await replay(live)  # a reader begins with a replay: here, of nothing
        async with connect() as redis:
            await publish(redis, EVENTS)
        print("live:", (await follow(live, notify, limit=3))["views"])
        print("rebuilt:", (await replay(new))["views"])
        rebuilt = await replay(new, by="country")
        print("by country:", rebuilt["views"])
        print("ignored:", rebuilt["ignored"])
        print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    run(main)
