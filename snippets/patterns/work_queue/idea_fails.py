# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The worker acknowledges a task when it has got it."""

import asyncio

from minibroker import Broker

BROKER = Broker()


async def work(worker: str) -> None:
    with BROKER.consume("transcode", worker) as consumer:
        task = await anext(aiter(consumer))
        task.ack()  # The queue forgets the task now.
        if worker == "A":
            raise RuntimeError("worker A dies in the middle of the video")
        print(f"worker {worker} has transcoded {task.message.body}")


async def main() -> None:
    BROKER.declare("transcode")
    BROKER.publish("transcode", "cat.mp4")
    try:
        await work("A")
    except RuntimeError as error:
        print(error)
    if BROKER.queues["transcode"].ready:
        await work("B")
    else:
        print("the queue is empty: cat.mp4 is lost")


if __name__ == "__main__":
    asyncio.run(main())
