# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Dead letter channel, before it: a task that fails is tried for ever."""

import asyncio

from minibroker import Broker

BROKER = Broker()


def transcode(video: str) -> None:
    if video == "dog.mp4":
        raise ValueError("unknown codec")
    print(f"{video} is transcoded")


async def main() -> None:
    BROKER.declare("transcode", delivery_limit=1_000_000)
    BROKER.publish("transcode", "dog.mp4")
    BROKER.publish("transcode", "cat.mp4")
    with BROKER.consume("transcode", "worker") as worker:
        for _ in range(4):  # This program ends after four deliveries.
            task = await worker.inbox.get()
            try:
                transcode(task.message.body)
                task.ack()
            except ValueError as error:
                print(f"{task.message.body} fails: {error}")
                task.nack()  # The queue has the task again.
    for left in BROKER.find("transcode").ready:
        print(f"{left.message.body} still waits")


if __name__ == "__main__":
    asyncio.run(main())
