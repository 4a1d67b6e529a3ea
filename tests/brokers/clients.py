"""How tests look at a server through its asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from tests.brokers.server import Server

#: Longer than what takes seconds may take on a busy machine.
SECONDS = 60


async def comes(condition: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def jetstream(
    server: Server, heard: list[Exception] | None = None, stream: StreamConfig | None = None
) -> AsyncIterator[JetStreamContext]:
    """Connect to a server on which there is one stream, `videos`; `heard` gets its errors."""

    async def hear(error: Exception) -> None:
        if heard is not None:
            heard.append(error)

    connection = await nats.connect(server.address, error_cb=hear)
    async with connection:
        context = connection.jetstream()
        await context.add_stream(stream or StreamConfig(), name="videos", subjects=["videos"])
        yield context
