# /// script
# requires-python = ">=3.11"
# dependencies = ["paho-mqtt>=2.2"]
# ///
"""Several handlers at once on MQTT 5: acknowledge in the order of arrival."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from paho.mqtt.client import MQTTMessage

from mqtt_session import Session, connect, run

TOPIC, WORKER = "transcode", "transcoder-1"
SESSION_SECONDS = 7 * 24 * 3600  # the server keeps a worker's tasks so long
AT_ONCE = 4
TASKS = ["cat.mp4", "dog.mp4", "owl.mp4", "fox.mp4"]
AGAIN = 4  # tasks: those behind the one in work, too

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with connect(WORKER, SESSION_SECONDS) as session:
        await session.subscribe(TOPIC)


async def submit(session: Session, tasks: Sequence[str]) -> None:
    for task in tasks:
        await session.publish(TOPIC, task)


async def _safely(handle: Handler, name: str) -> None:
    try:
        await handle(name)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():  # the worker is to end
            raise
        # A TaskGroup would let that pass, and go on without this handler.
        raise RuntimeError(f"cancelled in its handler: {name}") from error


async def work(handle: Handler, at_once: int = AT_ONCE) -> None:
    order = asyncio.Queue[tuple[asyncio.Task[None], MQTTMessage]]()

    async def one(body: bytes | bytearray) -> None:
        await _safely(handle, body.decode(errors="surrogateescape"))

    async def acknowledge(session: Session) -> None:
        # MQTT 5 demands the order of arrival, 4.6. Mosquitto takes any, but
        # another server may close the connection.
        while True:
            task, message = await order.get()
            await task
            session.ack(message)

    # The server sends no more than are in work here: its Receive Maximum.
    async with connect(WORKER, SESSION_SECONDS, prefetch=at_once) as session:
        try:
            await session.subscribe(TOPIC)
            async with asyncio.TaskGroup() as handlers:
                handlers.create_task(acknowledge(session))
                async for message in session.messages():
                    task = handlers.create_task(one(message.payload))
                    order.put_nowait((task, message))
        except ExceptionGroup as failed:  # the first of them is the cause
            raise failed.exceptions[0] from None


async def main() -> None:
    done, go = asyncio.Queue[str](), asyncio.Event()

    async def transcode(task: str) -> None:
        if task == "cat.mp4":
            await go.wait()
        done.put_nowait(task)

    async with connect() as session:
        await declare()
        await submit(session, TASKS)
    for count in (3, AGAIN):
        worker = asyncio.create_task(work(transcode))
        async with asyncio.timeout(60):
            tasks = sorted([await done.get() for _ in range(count)])
        print("a worker did", *tasks)
        await asyncio.sleep(3)  # It acknowledges, on a busy machine too.
        worker.cancel()  # This is as if its process ended.
        await asyncio.wait([worker])
        go.set()  # now, cat.mp4 can be done too


if __name__ == "__main__":
    run(main)
