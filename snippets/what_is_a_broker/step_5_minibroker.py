# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Step 5, the minibroker in use: queues, topics, dead letters and a log."""

import asyncio

from minibroker import DEAD_LETTERS, Broker

BROKER = Broker()


async def transcode(worker: str, deliveries: int) -> None:
    """Do so many deliveries; a damaged video fails every time."""
    with BROKER.consume("transcode", worker) as consumer:
        async for delivery in consumer:
            video, number = delivery.message.body, delivery.number
            if video == "damaged.mp4":
                print(f"{worker} fails on {video}, delivery {number}")
                delivery.nack()
            else:
                print(f"{worker} is done with {video}, delivery {number}")
                BROKER.append("ready", video)  # a result that others follow
                delivery.ack()
            deliveries -= 1
            if not deliveries:
                return


async def follow(group: str, records: int) -> None:
    """Read so many records, from where the group left off."""
    async for record in BROKER.read("ready", group):
        print(f"{group} reads {record.id}, {record.body}")
        BROKER.commit("ready", group, record)
        records -= 1
        if not records:
            return


async def main() -> None:
    BROKER.declare("transcode", delivery_limit=2)
    BROKER.bind("transcode", "video.uploaded")
    BROKER.declare("audit")
    BROKER.bind("audit", "video.#")
    for video in ("cat.mp4", "damaged.mp4", "owl.mp4"):
        queues = BROKER.publish("video.uploaded", video, user="ada")
        print(f"confirmed {video}: {', '.join(queues)}")

    await transcode("A", deliveries=4)
    with BROKER.consume(DEAD_LETTERS) as dead_letters:
        message = (await anext(aiter(dead_letters))).message
        print(f"dead letter: {message.body}")
        for name, value in message.headers.items():
            print(f"  {name}: {value}")

    await follow("search", records=2)
    BROKER.append("ready", "fox.mp4")
    await follow("search", records=1)
    await follow("mail", records=3)


if __name__ == "__main__":
    asyncio.run(main())
