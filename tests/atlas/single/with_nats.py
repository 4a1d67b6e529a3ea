"""What trials on NATS share: a durable pull consumer on the stream `videos`, and what is in it.

`tests.brokers.clients.jetstream` connects and makes the stream.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCameError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from tests.brokers.clients import SECONDS

STREAM, DURABLE = "videos", "workers"
Subscription = JetStreamContext.PullSubscription


async def publish(stream: JetStreamContext, *bodies: object) -> None:
    """Publish each body, and wait for each confirm."""
    for body in bodies:
        await stream.publish(STREAM, str(body).encode())


async def there(stream: JetStreamContext) -> list[str]:
    """Return the bodies of all messages in the stream, in its order."""
    state = (await stream.stream_info(STREAM)).state
    found = []
    for number in range(state.first_seq, state.last_seq + 1):
        with suppress(NotFoundError):  # it was deleted
            found.append(((await stream.get_msg(STREAM, number)).data or b"").decode())
    return found


async def durable(stream: JetStreamContext, **options: Any) -> Subscription:
    """Join the durable consumer, which the first makes, with these options of ConsumerConfig."""
    return await stream.pull_subscribe(
        "", durable=DURABLE, stream=STREAM, config=ConsumerConfig(**options)
    )


async def take(worker: Subscription, number: int = 1) -> list[Msg]:
    """Fetch until so many have come."""
    found: list[Msg] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < number:
            with suppress(NothingCameError):
                found += await worker.fetch(number - len(found), timeout=5)
    return found
