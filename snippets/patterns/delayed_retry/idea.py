# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Delayed retry: a task that fails waits in a queue that nobody reads."""

import asyncio

from minibroker import Broker

BROKER = Broker()


def transcode(video: str, attempt: int) -> None:
    if video == "dog.mp4" and attempt < 2:
        raise ConnectionError("the store is away")
    print(f"{video} is transcoded at attempt {attempt}")


async def main() -> None:
    BROKER.declare("transcode")
    BROKER.declare("wait", ttl=0.05, dead_letters="transcode")
    BROKER.publish("transcode", "dog.mp4", attempt="1")
    BROKER.publish("transcode", "cat.mp4", attempt="1")
    with BROKER.consume("transcode", "worker") as worker:
        for _ in range(3):
            task = await worker.inbox.get()
            video = task.message.body
            attempt = int(task.message.headers["attempt"])
            try:
                transcode(video, attempt)
            except ConnectionError as error:
                print(f"{video} fails: {error}")
                BROKER.publish("wait", video, attempt=str(attempt + 1))
            task.ack()


if __name__ == "__main__":
    asyncio.run(main())
