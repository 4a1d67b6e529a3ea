# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Deduplication on NATS: the broker forgets an id when its window ends."""

import asyncio

from nats.js import JetStreamContext

from nats_client import connect, run

WINDOW = 2  # seconds; 120 by default


async def publish(jetstream: JetStreamContext, task: str, id_: str) -> bool:
    """Return whether the broker took it for a duplicate."""
    confirm = await jetstream.publish(
        "transcode", task.encode(), headers={"Nats-Msg-Id": id_}
    )
    return bool(confirm.duplicate)


async def main() -> None:
    async with connect() as jetstream:
        await jetstream.add_stream(
            name="transcode", subjects=["transcode"], duplicate_window=WINDOW
        )
        for id_ in ("upload-1", "upload-1", "upload-2"):
            double = await publish(jetstream, "cat.mp4", id_)
            print(f"{id_}: {'duplicate' if double else 'stored'}")
        # A producer that was away for longer than the window tries again.
        async with asyncio.timeout(10 * WINDOW):
            while True:
                if not await publish(jetstream, "cat.mp4", "upload-1"):
                    break
                await asyncio.sleep(0.1)
        print("upload-1, after the window: stored again")
        state = (await jetstream.stream_info("transcode")).state
        print(f"{state.messages} messages of 2 uploads")


if __name__ == "__main__":
    run(main)
