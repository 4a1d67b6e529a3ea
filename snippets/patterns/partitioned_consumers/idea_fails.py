# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Two workers share one queue, and one step overtakes another."""

import asyncio

from minibroker import Broker

BROKER, TRANSCODED = Broker(), set[str]()


async def work(worker: str, queue: str) -> None:
    with BROKER.consume(queue, worker) as consumer:
        while consumer.unacked:  # Each acknowledgement brings the next task.
            delivery = await anext(aiter(consumer))
            step, video = delivery.message.body.split()
            if step == "transcode":
                for _ in range(100):  # This step takes longest.
                    await asyncio.sleep(0)
                TRANSCODED.add(video)
            early = "" if video in TRANSCODED else ", which is not transcoded"
            print(f"{worker}: {step} {video}{early}")
            delivery.ack()


async def main() -> None:
    BROKER.declare("tasks")
    for key in ("fox", "owl"):
        for step in ("transcode", "notify"):
            BROKER.publish("tasks", f"{step} {key}")
    await asyncio.gather(work("A", "tasks"), work("B", "tasks"))


if __name__ == "__main__":
    asyncio.run(main())
