# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Request-reply: each request says where its own reply has to go."""

import asyncio

from minibroker import Broker

BROKER = Broker()
MINUTES = {"cat": "3", "owl": "90"}


async def requestor(video: str) -> None:
    mine = f"for.{video}"  # Nobody else reads it.
    BROKER.declare(mine)
    with BROKER.consume(mine, "requestor") as replies:
        BROKER.publish("lengths", video, reply_to=mine)
        reply = await replies.inbox.get()
        print(f"{video}: {reply.message.body} min, in truth {MINUTES[video]}")
        reply.ack()


async def replier() -> None:
    with BROKER.consume("lengths", "replier", 2) as requests:
        cat, owl = await requests.inbox.get(), await requests.inbox.get()
        for request in (owl, cat):  # The owl is on the faster disk.
            minutes = MINUTES[request.message.body]
            BROKER.publish(request.message.headers["reply_to"], minutes)
            request.ack()


async def main() -> None:
    BROKER.declare("lengths")
    await asyncio.gather(requestor("cat"), requestor("owl"), replier())


if __name__ == "__main__":
    asyncio.run(main())
