# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=8.1"]
# ///
"""Event replay on Redis Streams: a new reader begins at the first entry."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
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


def take(state: State, position: str, body: bytes) -> bool:
    """Take an event into the state; say whether it counts."""
    state["at"] = position  # go on behind it
    try:
        event = ADDED | json.loads(body.decode())  # more fields: ignored
        known = bool(event["kind"] == "viewed")
        key = event[state["by"] if known else "kind"].strip()
    except Exception:  # whatever is wrong with it: set it aside
        state["aside"][position] = body.decode(errors="surrogateescape")
        return False
    tally = state["views" if known else "ignored"]
    tally[key] = tally.get(key, 0) + 1
    return known


def body_of(fields: dict[bytes, bytes]) -> bytes:
    return fields.get(b"event", str(fields).encode())  # or what else is there


def save(file: str, state: State) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(state))
    new.replace(file)  # the views and the position together, or neither


async def publish(events: Sequence[str]) -> None:
    # No retries: a request that timed out may have added the events already.
    async with Redis.from_url(URL, retry=None) as redis:
        # No transaction: inside one, WAITAOF would not wait.
        requests = redis.pipeline(transaction=False)
        for event in events:  # no MAXLEN: everything stays, in memory
            body = event.encode(errors="surrogateescape")
            requests.xadd(VIEWS, {"event": body})
        # Wait for fsync, but less than the client waits for the server, 5 s.
        requests.waitaof(1, 0, timeout=4_000)
        *_, (fsynced, _) = await requests.execute()
        if not fsynced:
            raise TimeoutError("the events are not on the server's disk")


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 0, "views": {}, "ignored": {}, "aside": {}}
    async with Redis.from_url(URL) as redis:
        found: Any = await redis.xrevrange(VIEWS, count=1)
        end = found[0][0] if found else 0
        while found:
            after = f"({state['at']}"
            found = await redis.xrange(VIEWS, after, end, count=100)
            for number, fields in found:
                take(state, number.decode(), body_of(fields))
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    done = 0
    # No time limit on answers: in Python 3.11 it can swallow a cancellation.
    async with Redis.from_url(URL, socket_timeout=None) as redis:
        while not limit or done < limit:
            streams: Any = await redis.xread(
                {VIEWS: state["at"]}, count=1, block=1_000
            )
            for number, fields in (e for _, found in streams for e in found):
                if take(state, number.decode(), body_of(fields)):
                    await handle(body_of(fields).decode())
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
