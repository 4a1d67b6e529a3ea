# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Request-reply on NATS: a deadline travels with the request."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError, OutboundBufferLimitError

from nats_client import connect_core as connect
from nats_client import run

SUBJECT = "entitlement.may-watch"
BUDGET = 1.0  # seconds that a page may spend on this request
DEADLINE = "Deadline"


class Entitlement:
    """A replier. Several of one name share the requests."""

    def __init__(self, name: str) -> None:
        self.name, self.replied, self.too_late = name, 0, 0
        self.database = asyncio.Event()  # set: it answers
        self.database.set()

    async def serve(self, connection: Client) -> None:
        await connection.subscribe(
            SUBJECT,
            queue="entitlement",  # each request goes to one of them
            cb=self.reply,
            pending_msgs_limit=100,  # a longer queue makes only late replies
        )
        # The first overtakes what the client has yet to send. The server
        # knows the subscription when the second returns.
        await connection.flush()
        await connection.flush()

    async def reply(self, request: Msg) -> None:
        try:
            # Clocks have to agree to well below the budget: run NTP.
            deadline = float((request.headers or {})[DEADLINE])
            viewer, video = request.data.decode().split()
            # A requestor may not name a subject that is no inbox.
            if not request.reply.startswith("_INBOX."):
                raise ValueError("it names no return address")
        except (KeyError, ValueError) as error:
            logging.warning("not a request: %r %r", error, request)
            return
        # A caller whose clock is ahead must not keep it waiting for hours.
        left = min(BUDGET, deadline - time.time())
        try:
            # Of a request that waited here too long, nothing is left: its
            # caller has gone, and the database is spared.
            await asyncio.wait_for(self.database.wait(), max(left, 0))
        except TimeoutError:
            self.too_late += 1
            return
        self.replied += 1
        allowed = viewer == "ana" or video == "trailer.mp4"
        await request.respond(b"yes" if allowed else b"no")


async def may_watch(connection: Client, viewer: str, video: str) -> str:
    """Request it, and return in any case: a page never waits longer."""
    try:
        reply = await connection.request(
            SUBJECT,
            f"{viewer} {video}".encode(),
            timeout=BUDGET,
            headers={DEADLINE: str(time.time() + BUDGET)},
        )
    except NoRespondersError:  # It comes at once, not after the budget.
        return "nobody is there: offer the trailer"
    except OutboundBufferLimitError:  # the client is connecting again
        return "NATS is away: offer the trailer"
    except TimeoutError:  # it may have been done all the same
        return "no reply in time: offer the trailer"
    return reply.data.decode()


async def main() -> None:
    async with AsyncExitStack() as stack:

        async def connected(name: str) -> Client:
            return await stack.enter_async_context(connect(name))

        page = await connected("page")
        print("before a deployment:", await may_watch(page, "ana", "cat.mp4"))

        one, two = Entitlement("one"), Entitlement("two")
        first, second = await connected("one"), await connected("two")
        await one.serve(first)
        print("ana, cat.mp4:", await may_watch(page, "ana", "cat.mp4"))
        print("bob, cat.mp4:", await may_watch(page, "bob", "cat.mp4"))

        one.database.clear()
        loop = asyncio.get_running_loop()
        loop.call_later(3 * BUDGET, one.database.set)
        slow = await asyncio.gather(
            *[may_watch(page, "ana", "cat.mp4") for _ in range(3)]
        )
        print("slow database, three requests:", *sorted(set(slow)))
        await one.database.wait()
        print("again, ana, cat.mp4:", await may_watch(page, "ana", "cat.mp4"))
        print(f"one: replied to {one.replied}, gave up {one.too_late}")

        await two.serve(second)
        await first.drain()  # takes no more requests, replies to those it has
        print("one has left:", await may_watch(page, "ana", "cat.mp4"))
        print(f"two: replied to {two.replied}")


if __name__ == "__main__":
    run(main)
