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
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from nats_client import connect

VIEWS = "views"
AWAY = 3600  # seconds until the server forgets a reader; longer than a pause
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


async def _declare(jetstream: JetStreamContext) -> None:
    await jetstream.add_stream(name=VIEWS, subjects=[VIEWS])  # kept for ever


async def _reader(
    jetstream: JetStreamContext, position: int
) -> JetStreamContext.PullSubscription:
    await _declare(jetstream)
    # No name, no acknowledgements: the position is stored with the state.
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=position,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=AWAY,
    )
    return await jetstream.pull_subscribe(VIEWS, stream=VIEWS, config=config)


async def publish(jetstream: JetStreamContext, events: Sequence[str]) -> None:
    await _declare(jetstream)
    for event in events:
        body = event.encode(errors="surrogateescape")
        await jetstream.publish(VIEWS, body)  # waits for the confirm


async def replay(file: str, by: str = "video") -> State:
    state: State = {"by": by, "at": 1, "views": {}, "ignored": {}, "aside": {}}
    # Raise when the connection is lost: the server goes on behind what was
    # under way, and an event would be missing.
    async with connect(reconnect=False) as jetstream:
        events = await _reader(jetstream, state["at"])
        left = (await events.consumer_info()).num_pending or 0
        while left:
            for message in await events.fetch(min(left, 100), timeout=5):
                number = message.metadata.sequence.stream
                take(state, number, message.data)
                left -= 1
    save(file, state)
    return state


async def follow(file: str, handle: Handler, limit: int = 0) -> State:
    state: State = json.loads(await asyncio.to_thread(Path(file).read_text))
    async with connect(reconnect=False) as jetstream:
        events = await _reader(jetstream, state["at"])
        done = 0
        while not limit or done < limit:
            try:
                [message] = await events.fetch(timeout=5)
            except TimeoutError:
                continue  # nothing was published
            number = message.metadata.sequence.stream
            if take(state, number, message.data):
                await handle(message.data.decode())
                done += 1
            save(file, state)
    return state


async def main() -> None:
    async with connect() as jetstream:

        async def notify(event: str) -> None:
            print("notify:", json.loads(event)["video"])

        with TemporaryDirectory() as folder:
            live, new = f"{folder}/live.json", f"{folder}/new.json"
            await replay(live)  # a reader begins with a replay
            await publish(jetstream, EVENTS)
            print("live:", (await follow(live, notify, limit=3))["views"])
            print("rebuilt:", (await replay(new))["views"])
            rebuilt = await replay(new, by="country")
            print("by country:", rebuilt["views"])
            print("ignored:", rebuilt["ignored"])
            print("aside:", *rebuilt["aside"].values())


if __name__ == "__main__":
    asyncio.run(main())
