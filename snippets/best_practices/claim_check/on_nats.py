# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Claim check on NATS: the broker carries a reference, a store the data."""

import asyncio
import hashlib
import json
import re
import tempfile
from pathlib import Path

from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy

from nats_client import SECONDS, connect_core, run

HASH = re.compile("[0-9a-f]{64}")
INLINE = 64 * 1024  # larger than this goes into the store


class Store:
    """A folder here; in production a bucket that both sides can reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        # Its own hash as the name: put twice it is there once, and the
        # reader can tell whether it got what was sent.
        name = hashlib.sha256(data).hexdigest()
        (self.folder / name).write_bytes(data)
        return name

    def get(self, name: str) -> bytes:
        # It comes from a message: "../../etc/passwd" would be a path too.
        if not HASH.fullmatch(name):
            raise ValueError(f"no name of this store: {name!r}")
        data = (self.folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != name:
            raise ValueError("the data in the store has changed")
        return data


async def publish(
    jetstream: JetStreamContext, store: Store, video: str, subtitles: bytes
) -> int:
    event: dict[str, str] = {"video": video}
    if len(subtitles) <= INLINE:
        event["subtitles"] = subtitles.decode()
    else:
        # First the data, then the message: nobody can come too early.
        event["subtitles_at"] = await asyncio.to_thread(store.put, subtitles)
    body = json.dumps(event).encode()
    await jetstream.publish("subtitles", body)
    return len(body)


async def receive(jetstream: JetStreamContext, store: Store) -> None:
    consumer = await jetstream.pull_subscribe("subtitles", durable="player")
    for message in await consumer.fetch(2, timeout=5):
        event = json.loads(message.data)
        if at := event.get("subtitles_at"):
            event["subtitles"] = (
                await asyncio.to_thread(store.get, at)
            ).decode()
        print(f"{event['video']}: {len(event['subtitles'])} characters")
        await message.ack_sync(SECONDS)


async def main() -> None:
    small, large = b"Meow. " * 100, b"Meow. " * 500_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        async with connect_core() as connection:
            jetstream = connection.jetstream(timeout=SECONDS)
            await jetstream.add_stream(
                name="subtitles",
                subjects=["subtitles"],
                retention=RetentionPolicy.WORK_QUEUE,
            )
            try:
                await jetstream.publish("subtitles", large)
            except MaxPayloadError:
                limit = connection.max_payload
                print(f"{len(large)} bytes refused: at most {limit}")
            for video, subtitles in (("cat.mp4", small), ("owl.mp4", large)):
                size = await publish(jetstream, store, video, subtitles)
                print(f"{video}: {size} bytes to the broker")
            await receive(jetstream, store)


if __name__ == "__main__":
    run(main)
