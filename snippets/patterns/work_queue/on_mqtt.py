# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Work queue on MQTT 5: the workers' sessions at the server are the queue."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mqtt_session import Session, connect, run

TOPIC, SHARED = "transcode", "$share/workers/transcode"
WORKERS = ("A", "B")  # each task goes to one of their sessions, for good
SESSION_SECONDS = 7 * 24 * 3600  # the tasks of a session end with it
TASKS = [f"transcode {name}.mp4" for name in ("cat", "dog", "owl", "fox")]

Handler = Callable[[str, int | None], Awaitable[None]]


async def declare() -> None:
    for worker in WORKERS:  # once, as this disconnects a worker who is there
        async with connect(worker, SESSION_SECONDS) as session:
            await session.subscribe(SHARED)


async def submit(client: Session, tasks: Sequence[str]) -> None:
    # Mosquitto keeps 1000 per session, and confirms and drops what is more.
    for task in tasks:
        if not await client.publish(TOPIC, task):
            raise LookupError(f"no session for {task!r}: call declare() first")


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with connect(worker, SESSION_SECONDS, prefetch) as session:
        # Again: Mosquitto 2.0 restores a session without what it shares.
        await session.subscribe(SHARED)
        async for message in session.messages(limit):
            delivery = 2 if message.dup else 1  # MQTT has a flag, not a count
            # Any bytes: a bad task must not stop the worker.
            task = message.payload.decode(errors="surrogateescape")
            await handle(task, delivery)
            session.ack(message)


async def main() -> None:
    await declare()
    async with connect() as client:
        await submit(client, TASKS)
    print(f"confirmed {len(TASKS)} tasks")

    async def crash(task: str, delivery: int | None) -> None:
        raise RuntimeError(task, delivery)

    try:
        await work("A", crash)
    except RuntimeError:
        print("worker A crashed before it acknowledged its first task")

    deliveries: dict[str, int | None] = {}

    async def note(task: str, delivery: int | None) -> None:
        deliveries[task] = delivery

    await asyncio.gather(work("A", note, limit=2), work("B", note, limit=2))
    for task, delivery in sorted(deliveries.items()):
        print(f"{task}: delivery {delivery or 'not counted'}")


if __name__ == "__main__":
    run(main)
