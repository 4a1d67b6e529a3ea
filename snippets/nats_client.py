"""NATS in asyncio: nats-py, with a clock on each wait and no quiet end.

The client connects again by itself. What it tells to callbacks only becomes
an error here: a right that is missing, a server that stays away.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    NoRespondersError,
    OutboundBufferLimitError,
)
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError

URL = urlsplit(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
SECONDS = 15.0  # for an answer: longer than a server may stand still
AWAY = 40.0  # seconds for which the client tries to connect again
FIRST_ID = "first-id"
LOST = (
    TimeoutError,
    ConnectionClosedError,
    NoRespondersError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
)


@asynccontextmanager
async def connect_core(
    name: str | None = None, reconnect: bool = True
) -> AsyncIterator[Client]:
    """Open what a service keeps; end its user with the cause of a failure."""
    clock = asyncio.get_running_loop().time
    causes: list[Exception] = []

    def end(when: float | None) -> None:
        if not user.expired():
            user.reschedule(when)

    async def failed(cause: Exception) -> None:
        logging.warning("NATS: %r", cause)
        causes.append(cause)
        # The server tells it to nobody else: the request would time out.
        if "permissions violation" in str(cause).lower():
            end(clock())

    async def away() -> None:
        end(clock() + AWAY)

    async def back() -> None:
        causes.clear()
        end(None)

    try:
        async with (
            asyncio.timeout(SECONDS) as user,
            await nats.connect(
                URL._replace(netloc=URL.netloc.rpartition("@")[2]).geturl(),
                # In the address, the client would leave them encoded.
                user=unquote(URL.username) if URL.username else None,
                password=unquote(URL.password) if URL.password else None,
                name=name,
                ping_interval=5,  # after two without an answer, anew
                allow_reconnect=reconnect,
                max_reconnect_attempts=-1,  # `away` has the clock
                pending_size=0,  # else it would send, late, what has failed
                error_cb=failed,
                disconnected_cb=away,
                reconnected_cb=back,
            ) as connection,
        ):
            user.reschedule(None)
            yield connection
    except LOST as error:
        if not (user.expired() or isinstance(error, nats.errors.Error)):
            raise  # a time-out of its user
        silent = f"no answer, or no such stream or consumer: {error!r}"
        raise ConnectionError(
            f"NATS: {causes[-1] if causes else silent}"
        ) from error


@asynccontextmanager
async def connect(
    name: str | None = None, reconnect: bool = True
) -> AsyncIterator[JetStreamContext]:
    async with connect_core(name, reconnect) as connection:
        yield connection.jetstream(timeout=SECONDS)


async def consume(
    jetstream: JetStreamContext, stream: str, consumer: str
) -> AsyncIterator[Msg]:
    """Fetch one message, and the next one when its reader has settled it."""
    source = await jetstream.pull_subscribe_bind(consumer, stream)
    while True:
        try:
            [message] = await source.fetch(1, timeout=5)
        except TimeoutError:
            continue  # there is nothing
        yield message


async def forward(
    jetstream: JetStreamContext, to: str, message: Msg, **more: str
) -> None:
    """Publish a copy with its headers, its id, and where it came from."""
    headers, at = message.headers or {}, message.metadata
    number = at.sequence.stream
    first = headers.get(FIRST_ID) or headers.get("Nats-Msg-Id", "")
    new = {
        FIRST_ID: first,
        "origin": message.subject,
        # A stream that has seen the first id would drop the copy. It does
        # drop a second copy of this message, if a worker dies in between.
        "Nats-Msg-Id": f"{first}@{at.stream}/{number}",
    }
    await jetstream.publish(to, message.data, headers=headers | new | more)


@asynccontextmanager
async def renewed(held: list[Msg], ack_wait: float) -> AsyncIterator[None]:
    """Tell the server that this worker lives, however long a task takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(ack_wait / 4)
            with suppress(OutboundBufferLimitError):  # perhaps it is back soon
                for message in held[:]:
                    await message.in_progress()

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()
