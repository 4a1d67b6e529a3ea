# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Event replay on the minibroker: a new reader begins at offset 0."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minibroker import Broker

BROKER = Broker()  # It lives in this process, and dies with it.
LOG = "views"
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


def take(state: State, position: int, body: str) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position + 1  # It says where to go on.
    try:
        event = ADDED | json.loads(body)  # It ignores more fields.
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][str(position)] = body
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # It changes both together, or neither.


async def publish(events: Sequence[str]) -> None:
    for event in events:
        BROKER.append(LOG, event)


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    end = len(BROKER.logs[LOG])
    records = BROKER.read(LOG, Path(file).stem, state["at"])
    while state["at"] < end:
        record = await anext(records)
        take(state, record.id, record.body)
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    records = BROKER.read(LOG, Path(file).stem, state["at"])
    done = 0
    while not limit or done < limit:
        record = await anext(records)
        if take(state, record.id, record.body):
            await handle(record.body)
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
