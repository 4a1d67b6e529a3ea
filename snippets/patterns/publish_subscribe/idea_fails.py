# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Two services take events from one queue."""

import asyncio

from minibroker import Broker

BROKER = Broker()
QUEUE_OF = {"thumbnailer": "uploads", "notifier": "uploads"}


async def receive(subscriber: str) -> None:
    with BROKER.consume(QUEUE_OF[subscriber], subscriber) as consumer:
        event = await anext(aiter(consumer))
        print(f"the {subscriber} hears of {event.message.body}")
        event.ack()


async def main() -> None:
    for queue in QUEUE_OF.values():
        BROKER.declare(queue)
        BROKER.bind(queue, "uploads")  # The topic has that name.
    BROKER.publish("uploads", "cat.mp4")
    for subscriber, queue in QUEUE_OF.items():
        if BROKER.queues[queue].ready:
            await receive(subscriber)
        else:
            print(f"the {subscriber} never hears of cat.mp4")


if __name__ == "__main__":
    asyncio.run(main())
