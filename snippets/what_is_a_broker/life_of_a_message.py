# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""The life of a message: kept, delivered, delivered again, acknowledged."""

import asyncio

from minibroker import Broker

BROKER = Broker()
TASKS = ["cat.mp4", "damaged.mp4"]


async def work(worker: str, crash: bool = False) -> None:
    with BROKER.consume("transcode", worker) as consumer:
        deliveries = aiter(consumer)
        for _ in TASKS:
            delivery = await anext(deliveries)
            video, number = delivery.message.body, delivery.number
            print(f"{worker} has {video}, delivery {number}")
            if crash:
                raise ConnectionError
            if video == "damaged.mp4":
                delivery.nack(requeue=False)  # trying again would not help
            else:
                delivery.ack()


async def main() -> None:
    BROKER.declare("transcode")
    for video in TASKS:
        BROKER.publish("transcode", video, publisher="web")
    print("nobody is there: the broker keeps both")
    try:
        await work("A", crash=True)
    except ConnectionError:
        print("A crashed before it acknowledged")
    await work("B")
    print(f"dead letters: {len(BROKER.queues['dead-letters'].ready)}")


if __name__ == "__main__":
    asyncio.run(main())
