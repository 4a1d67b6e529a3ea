# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Dead letter channel: a task that fails three times is kept elsewhere."""

import asyncio

from minibroker import Broker

BROKER = Broker()


def transcode(video: str) -> None:
    if video == "dog.mp4":
        raise ValueError("unknown codec")
    print(f"{video} is transcoded")


async def main() -> None:
    BROKER.declare("dead")
    BROKER.declare("transcode", delivery_limit=3, dead_letters="dead")
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
    for letter in BROKER.find("dead").ready:
        print(f"{letter.message.body} waits for a person to look at it")


if __name__ == "__main__":
    asyncio.run(main())
