# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Partitioned consumers on MQTT 5: each topic has one client, for good."""

from collections.abc import Awaitable, Callable, Sequence
from zlib import crc32

from mqtt_session import Session, connect, run

CHANNEL = "videos"  # It keeps the number of its partitions, retained.
WORKERS = ("A", "B", "C")  # A's partition is videos/0, B's is videos/1
SESSION_SECONDS = 7 * 24 * 3600  # the tasks of a session end with it
STEPS = ("upload", "transcode", "thumbnail", "notify")
TASKS = [(name, f"{step} {name}") for name in ("fox", "owl") for step in STEPS]

Handler = Callable[[str], Awaitable[None]]


async def declare(partitions: int = 2) -> None:
    for number in range(partitions):  # this disconnects a worker who is there
        async with connect(WORKERS[number], SESSION_SECONDS) as session:
            await session.subscribe(f"{CHANNEL}/{number}")
    async with connect() as client:
        await client.publish(CHANNEL, str(partitions), retain=True)


async def submit(client: Session, tasks: Sequence[tuple[str, str]]) -> None:
    async with client.turn:  # Two that ask at once would get one answer.
        await client.subscribe(CHANNEL, qos=0)
        await client.unsubscribe(CHANNEL)  # What is there has arrived now.
        try:
            kept = await anext(client.messages(seconds=1))
        except TimeoutError:
            # A server that was killed may have forgotten it, too.
            raise LookupError("no partitions: call declare() first") from None
    partitions = int(kept.payload)
    # Mosquitto keeps 1000 per session, and confirms and drops what is more.
    for key, task in tasks:
        # Not hash(): it gives each process another number for one key.
        number = crc32(key.encode()) % partitions
        if not await client.publish(f"{CHANNEL}/{number}", task):
            raise LookupError(f"partition {number} has no session: declare()")


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker, SESSION_SECONDS) as session:
        # Again: a server that was killed may have forgotten the session.
        await session.subscribe(f"{CHANNEL}/{WORKERS.index(worker)}")
        async for message in session.messages(limit):
            task = message.payload.decode(errors="surrogateescape")
            await handle(task)
            session.ack(message)


async def main() -> None:
    await declare()
    handled: list[str] = []

    async def note(task: str) -> None:
        handled.append(task)
        if handled == ["upload fox", "transcode fox"]:
            raise RuntimeError("crashed")

    async with connect() as client:
        await submit(client, TASKS[:4])
        try:
            await work("A", note)
        except RuntimeError as error:
            print("A:", ", ".join(handled), "...", error)
        await submit(client, TASKS[4:])
    await work("B", note, limit=4)
    print("B:", ", ".join(handled[2:]))
    await work("A", note, limit=3)
    print("A:", ", ".join(handled[6:]))


if __name__ == "__main__":
    run(main)
