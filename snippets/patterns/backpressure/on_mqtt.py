# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Backpressure on MQTT 5: the producer spends a credit for each task."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import mqtt_session
from mqtt_session import Session, run

TOPIC, SHARED = "transcode", "$share/workers/transcode"
PRODUCER, CREDIT = "uploads", "credit/uploads"  # a pair for each producer
WORKER = "A"  # each other worker needs a session, too
LIMIT = 5  # unfinished tasks; a session keeps 1000, and drops what is more
SESSION_SECONDS = 7 * 24 * 3600  # a session's messages end with it
TASKS = [f"video-{number}.mp4" for number in range(1, 9)]

Handler = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def connect() -> AsyncIterator[Session]:
    """Open the producer's session, in which its credits wait."""
    async with mqtt_session.connect(PRODUCER, SESSION_SECONDS) as producer:
        yield producer


async def declare() -> None:
    async with mqtt_session.connect(WORKER, SESSION_SECONDS) as session:
        await session.subscribe(SHARED)
    async with connect() as producer:
        await producer.subscribe(CREDIT)
        if not producer.present:
            for _ in range(LIMIT):
                await producer.publish(CREDIT)


async def submit(
    producer: Session, tasks: Sequence[str], patience: float = 60.0
) -> int:
    """Return how many tasks, from the first on, the sessions have taken."""
    if not producer.present:  # a killed server may have forgotten it
        raise LookupError("the credits are gone: call declare()")
    for confirmed, task in enumerate(tasks):
        try:
            credit = await anext(producer.messages(seconds=patience))
        except TimeoutError:
            return confirmed  # the caller decides about the rest
        if not await producer.publish(TOPIC, task):
            raise LookupError("no worker has a session: call declare()")
        producer.ack(credit)  # It is spent.
    return len(tasks)


async def work(
    worker: str, handle: Handler, prefetch: int = 1, limit: int | None = None
) -> None:
    async with mqtt_session.connect(
        worker, SESSION_SECONDS, prefetch
    ) as session:
        # Again: Mosquitto 2.0 restores a session without what it shares.
        await session.subscribe(SHARED)
        async for task in session.messages(limit):
            await handle(task.payload.decode(errors="surrogateescape"))
            # First the credit: a crash in between must not lose it for ever.
            await session.publish(CREDIT)
            session.ack(task)


async def main() -> None:
    await declare()
    done: list[str] = []

    async def note(task: str) -> None:
        done.append(task)

    async with connect() as producer:
        confirmed = await submit(producer, TASKS, patience=3)
        print(
            f"confirmed {confirmed} of {len(TASKS)} tasks: the queue is full"
        )
        await work("A", note, limit=len(TASKS) - confirmed)
        more = await submit(producer, TASKS[confirmed:])
        print(f"worker A has made room: confirmed {more} more")
    await work("A", note, limit=confirmed)
    print(f"done: {len(set(done))} of {len(TASKS)} tasks")


if __name__ == "__main__":
    run(main)
