# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""A window of confirms on MQTT 5: publish while others are not confirmed."""

import asyncio
from collections.abc import Iterable

from mqtt_session import Session, connect, run

TOPIC, WORKER = "transcode", "transcoder-1"
SESSION_SECONDS = 7 * 24 * 3600  # the server keeps a worker's tasks so long
WINDOW = 20  # as many as the server takes unconfirmed, its Receive Maximum


async def declare(_: Session) -> None:
    async with connect(WORKER, SESSION_SECONDS) as session:
        await session.subscribe(TOPIC)


async def submit(
    session: Session, tasks: Iterable[str], window: int = WINDOW
) -> None:
    left = iter(tasks)  # All lanes share it.

    async def lane() -> None:
        for task in left:
            await session.publish(TOPIC, task)

    # The first publish that fails ends the others, and raises.
    async with asyncio.TaskGroup() as lanes:
        for _ in range(window):
            lanes.create_task(lane())


async def main() -> None:
    tasks = [f"video-{number}.mp4" for number in range(1000)]
    async with connect() as session:
        await declare(session)
        await submit(session, tasks)
        print("confirmed", len(tasks), "tasks,", WINDOW, "at a time")


if __name__ == "__main__":
    run(main)
