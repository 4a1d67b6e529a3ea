# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Request-reply on core NATS: each requestor gets its own replies."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.errors import NoRespondersError, OutboundBufferLimitError

from nats_client import connect_core as connect
from nats_client import run

REQUESTS, REPLIERS = "lengths", "repliers"
# No replier, or no server: the client is connecting again.
NOBODY = NoRespondersError, OutboundBufferLimitError

Request = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    """Do nothing: a subject of core NATS is only a name."""


@asynccontextmanager
async def requestor() -> AsyncIterator[Request]:
    """Connect; what it yields may be used concurrently."""
    async with connect() as connection:

        async def request(body: str, seconds: float) -> str:
            # A subscription keeps what its busy replier has not taken yet,
            # and nothing removes that: so the replier has to know until when.
            deadline = time.time() + seconds
            headers = {"deadline": str(deadline)}
            while (left := deadline - time.time()) > 0:
                try:
                    # The reply to each request has an address of its own.
                    reply = await connection.request(
                        REQUESTS, body.encode(), left, headers=headers
                    )
                    return reply.data.decode()
                except NOBODY:  # It comes at once; send again.
                    await asyncio.sleep(0.1)
                except TimeoutError:
                    break
            raise TimeoutError(f"no reply within {seconds} s")

        yield request


async def serve(replier: str, handle: Handler) -> None:
    async with connect(replier) as connection:
        # Repliers form a queue group: each request goes to one of them.
        requests = await connection.subscribe(REQUESTS, REPLIERS)
        async for message in requests.messages:
            try:
                body = message.data.decode()
                deadline = float((message.headers or {})["deadline"])
                # A requestor may not name a subject that is no inbox.
                if not message.reply.startswith("_INBOX."):
                    raise ValueError("it names no return address")
            except (KeyError, ValueError) as error:
                logging.warning("not a request: %r %r", error, message)
                continue
            if deadline < time.time():  # clocks must agree
                continue
            reply = await handle(body)
            await connection.publish(message.reply, reply.encode())
        raise ConnectionError("NATS sends nothing any more")


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # This is longer than its wait.
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(serve("replier", probe))
    async with requestor() as request:
        both = request("cat.mp4", 30), request("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await request("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no reply in time")
        print(await request("zebra.mp4", 30))  # owl's reply comes before it
    replier.cancel()


if __name__ == "__main__":
    run(main)
