# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Message expiration on MQTT 5: what is too late never arrives."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

from mqtt_session import Session, connect, run

TOPIC = "push"
WORKER = "A"  # Its session holds the tasks while nobody is there.
SESSION_SECONDS = 7 * 24 * 3600  # the tasks of a session end with it

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with connect(WORKER, SESSION_SECONDS) as session:
        await session.subscribe(TOPIC)


async def submit(
    client: Session, tasks: Sequence[str], seconds: float
) -> None:
    expiry = math.ceil(seconds)  # It takes whole seconds only.
    for task in tasks:
        if not await client.publish(TOPIC, task, MessageExpiryInterval=expiry):
            raise LookupError(f"no session for {task!r}: call declare() first")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker, SESSION_SECONDS) as session:
        # Again: a server that was killed may have forgotten the session.
        await session.subscribe(TOPIC)
        async for message in session.messages(limit):
            # Any bytes: a bad task must not stop the worker.
            task = message.payload.decode(errors="surrogateescape")
            await handle(task)
            session.ack(message)


async def main() -> None:
    async def push(task: str) -> None:
        print(task)

    await declare()
    async with connect() as client:
        await submit(client, ["push: cat.mp4 is live"], seconds=60)
        await submit(client, ["push: dog.mp4 starts now"], seconds=1)
        print("no worker for two seconds")
        await asyncio.sleep(2)
        await submit(client, ["push: owl.mp4 is live"], seconds=60)
    await work("A", push, limit=2)


if __name__ == "__main__":
    run(main)
