# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The queue has a limit, and its producer learns when it is full."""

import asyncio

from minibroker import Broker

BROKER = Broker()
LIMIT = 2  # This many tasks may wait.


def submit(task: str) -> bool:
    if len(BROKER.find("transcode").ready) >= LIMIT:
        return False  # The producer keeps the task, and tries again later.
    return "transcode" in BROKER.publish("transcode", task, publisher="studio")


async def main() -> None:
    BROKER.declare("transcode")
    with BROKER.consume("transcode", "A") as worker:
        for n in (1, 2, 3):
            sent = 0
            while sent < 10 and submit(f"video-{n}-{sent}.mp4"):
                sent += 1
            (await anext(aiter(worker))).ack()  # It does one task a minute.
            wait = 1 + len(BROKER.find("transcode").ready)
            print(f"minute {n}: {sent} confirmed, the next waits {wait} min")


if __name__ == "__main__":
    asyncio.run(main())
