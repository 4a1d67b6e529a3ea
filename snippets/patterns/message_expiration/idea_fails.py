# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""A notice waits for as long as it takes, and wakes people too late."""

import asyncio

from minibroker import Broker

BROKER = Broker()


async def main() -> None:
    BROKER.declare("push")
    BROKER.publish("push", "dog.mp4 starts now")
    BROKER.publish("push", "owl.mp4 starts at eight")
    await asyncio.sleep(0.1)  # The push service is down.
    print("the premiere of dog.mp4 is over")
    with BROKER.consume("push", "A") as consumer:
        while consumer.unacked:  # Each acknowledgement brings the next one.
            notice = await anext(aiter(consumer))
            print("all phones ring:", notice.message.body)
            notice.ack()
    for dead in BROKER.find("dead-letters").ready:
        print("dropped as too late:", dead.message.body)


if __name__ == "__main__":
    asyncio.run(main())
