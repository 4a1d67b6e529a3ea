# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Delayed retry, as one writes it first: the worker sleeps between tries."""

import asyncio

from minibroker import Broker

BROKER = Broker()


def transcode(video: str, attempt: int) -> None:
    if video == "dog.mp4" and attempt < 2:
        raise ConnectionError("the store is away")
    print(f"{video} is transcoded at attempt {attempt}")


async def main() -> None:
    BROKER.declare("transcode")
    BROKER.publish("transcode", "dog.mp4")
    BROKER.publish("transcode", "cat.mp4")
    with BROKER.consume("transcode", "worker") as worker:
        for _ in range(2):
            task = await worker.inbox.get()
            video = task.message.body
            for attempt in (1, 2):
                try:
                    transcode(video, attempt)
                    break
                except ConnectionError as error:
                    print(f"{video} fails: {error}; everything waits for it")
                    await asyncio.sleep(0.05)
            task.ack()


if __name__ == "__main__":
    asyncio.run(main())
