# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Request-reply on core NATS: each requestor gets its own answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.errors import NoRespondersError, OutboundBufferLimitError

from nats_client import connect_core as connect

QUESTIONS, REPLIERS = "lengths", "repliers"
# No replier, or no server: the client is connecting again.
NOBODY = NoRespondersError, OutboundBufferLimitError

Ask = Callable[[str, float], Awaitable[str]]
Handler = Callable[[str], Awaitable[str]]


async def declare() -> None:
    """Do nothing: a subject of core NATS is only a name."""


@asynccontextmanager
async def requestor() -> AsyncIterator[Ask]:
    """Connect; what it yields may be used concurrently."""
    async with connect() as connection:

        async def ask(question: str, seconds: float) -> str:
            # A subscription keeps what its busy replier has not taken yet,
            # and nothing removes that: so the replier has to know until when.
            deadline = time.time() + seconds
            headers = {"deadline": str(deadline)}
            while (left := deadline - time.time()) > 0:
                try:
                    # Each question's answer has an address of its own.
                    reply = await connection.request(
                        QUESTIONS, question.encode(), left, headers=headers
                    )
                    return reply.data.decode()
                except NOBODY:  # it comes at once, and to ask again is safe
                    await asyncio.sleep(0.1)
                except TimeoutError:
                    break
            raise TimeoutError(f"no answer within {seconds} s")

        yield ask


async def answer(replier: str, handle: Handler) -> None:
    async with connect(replier) as connection:
        # Repliers form a queue group: each question goes to one of them.
        questions = await connection.subscribe(QUESTIONS, REPLIERS)
        async for message in questions.messages:
            try:
                question = message.data.decode()
                deadline = float((message.headers or {})["deadline"])
                # Whoever asks may not name a subject that is no inbox.
                if not message.reply.startswith("_INBOX."):
                    raise ValueError("it names no return address")
            except (KeyError, ValueError) as error:
                logging.warning("not a question: %r %r", error, message)
                continue
            if deadline < time.time():  # clocks must agree
                continue
            reply = await handle(question)
            await connection.publish(message.reply, reply.encode())
        raise ConnectionError("NATS sends nothing any more")


async def main() -> None:
    async def probe(video: str) -> str:
        if video == "owl.mp4":
            await asyncio.sleep(1.5)  # longer than its requestor waits
        return f"{video}: {len(video)} min"

    await declare()
    replier = asyncio.create_task(answer("replier", probe))
    async with requestor() as ask:
        both = ask("cat.mp4", 30), ask("wolf.mp4", 30)
        print(*await asyncio.gather(*both), sep="\n")
        try:
            await ask("owl.mp4", 0.5)
        except TimeoutError:
            print("owl.mp4: no answer in time")
        print(await ask("zebra.mp4", 30))  # owl's answer comes before it
    replier.cancel()


if __name__ == "__main__":
    asyncio.run(main())
