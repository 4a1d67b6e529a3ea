"""RabbitMQ in asyncio: aio-pika, with a clock on each wait and no quiet end.

Whatever happens to a connection, its user gets an error that says why; then
begin anew. aio-pika's connect_robust() would connect again by itself, but it
tries for ever and in silence, and the message in hand fails all the same.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from copy import copy
from ctypes import c_float
from typing import Any

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import (
    AbstractChannel,
    AbstractIncomingMessage,
    AbstractMessage,
    AbstractQueue,
    AbstractQueueIterator,
)
from aio_pika.exceptions import ChannelInvalidStateError
from pamqp import frame
from pamqp.header import ContentHeader

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
SECONDS = 20  # for an answer: longer than a server may stand still
HEARTBEAT = 10  # seconds; after three without an answer, give up


def _readable(frame_data: bytes) -> ContentHeader:
    # An id or a header's name that is not UTF-8 would end the connection,
    # and the next one, as it comes again. The message goes without it, and
    # without what is behind it: headers come before the ids.
    found = ContentHeader()
    with suppress(ValueError):
        found.unmarshal(frame_data)
    return found


frame._unmarshal_header_frame = _readable


@asynccontextmanager
async def clock(what: str, seconds: float = SECONDS) -> AsyncIterator[None]:
    """Limit a wait, and say what did not come: aio-pika would not say it."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"no {what} after {seconds} s") from None
    except asyncio.CancelledError:
        # So aio-pika ends what waits when it gives a connection up. A
        # TaskGroup would take that for a task which was to end.
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        raise ConnectionError(f"RabbitMQ is lost: no {what}") from None


@asynccontextmanager
async def connect() -> AsyncIterator[AbstractChannel]:
    """Open what a service keeps: a connection, and a channel with confirms."""
    async with clock("connection"):
        opened = await aio_pika.connect(URL, heartbeat=HEARTBEAT)
    async with opened as connection:
        # RabbitMQ confirms what no queue takes, too: it returns it first,
        # and without this flag nobody would notice.
        channel = await connection.channel(on_return_raises=True)
        underlay = await channel.get_underlay_channel()
        causes: list[object] = []

        async def cancelled(_: object) -> None:
            causes.append("it has cancelled a consumer")
            await connection.close()

        # That is when its queue is deleted, or (4.3) a message takes too
        # long. aio-pika alone would then wait for ever.
        underlay.on_consumer_cancel_callbacks.add(cancelled)
        try:
            yield channel
            if not channel.is_closed:
                return
        except ChannelInvalidStateError:
            pass  # It would not say why.
        except asyncio.CancelledError:
            # It is aio-pika's own, as in clock(), or somebody's.
            task = asyncio.current_task()
            if not channel.is_closed or (task and task.cancelling()):
                raise
        # A consumer's loop ends with its channel, as if all were done.
        if underlay.closing.done() and not underlay.closing.cancelled():
            causes.append(underlay.closing.exception())
        why = causes[0] if causes else None
        if why is None or isinstance(why, asyncio.CancelledError):
            why = "it does not answer"
        raise ConnectionError(f"RabbitMQ is lost: {why}")


async def declare_queue(
    channel: AbstractChannel, name: str, arguments: dict[str, Any]
) -> AbstractQueue:
    """Declare a quorum queue: on disk, replicated, it counts deliveries."""
    kind = {"x-queue-type": "quorum"}
    return await channel.declare_queue(
        name, durable=True, arguments=kind | arguments
    )


def dead_letters_to(queue: str) -> dict[str, Any]:
    """Return the arguments of a queue whose dead letters go to `queue`."""
    return {
        "x-dead-letter-exchange": "",  # Without one, they are dropped.
        "x-dead-letter-routing-key": queue,
        # It stays here until the other queue has it. The default,
        # at-most-once, may lose it.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # At-least-once asks for it.
    }


async def publish(
    channel: AbstractChannel, queue: str, body: bytes, **properties: Any
) -> None:
    """Wait for the confirm; raise if there is no such queue."""
    # Without a message_id among the properties, aio-pika makes one up.
    disk = DeliveryMode.PERSISTENT
    message = Message(body, delivery_mode=disk, **properties)
    await _confirm(channel, queue, message)


async def _confirm(
    channel: AbstractChannel, queue: str, message: AbstractMessage
) -> None:
    async with clock("confirm"):
        await channel.default_exchange.publish(message, queue, mandatory=True)


def _writable(value: Any) -> Any:
    # aio-pika reads a text that is not UTF-8 as bytes, which it can't write.
    if isinstance(value, dict):
        return {key: _writable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each) for each in value]
    # It writes a number in 32 bits. One that needs 64 becomes a text.
    if isinstance(value, float) and c_float(value).value != value:
        return str(value)
    return bytearray(value) if isinstance(value, bytes) else value


async def forward(
    channel: AbstractChannel,
    queue: str,
    message: AbstractIncomingMessage,
    headers: dict[str, Any],
    expiration: float = 0,
) -> None:
    """Publish a copy: with its id, correlation id, type, trace and headers."""
    again: Any = copy(message)
    again.headers = _writable({**message.headers, **headers})
    again.headers.pop("x-delivery-count", None)  # the copy has had none yet
    again.headers.pop("CC", None)  # other queues, which have got theirs
    again.delivery_mode = DeliveryMode.PERSISTENT
    again.expiration = expiration or None  # seconds
    again.user_id = None  # RabbitMQ refuses any other than our own
    await _confirm(channel, queue, again)


@asynccontextmanager
async def consume(
    channel: AbstractChannel,
    queue: str,
    prefetch: int = 1,
    consumer_tag: str | None = None,
) -> AsyncIterator[AbstractQueueIterator]:
    """Receive, and hold no more than `prefetch` messages that are unsettled.

    Take a connection for this alone: as it ends, all that is held goes back.
    """
    await channel.set_qos(prefetch_count=prefetch)
    source = await channel.get_queue(queue)
    async with source.iterator(consumer_tag=consumer_tag) as messages:
        yield messages


@asynccontextmanager
async def open_consumer(
    queue: str, prefetch: int = 1, consumer_tag: str | None = None
) -> AsyncIterator[tuple[AbstractChannel, AbstractQueueIterator]]:
    """Consume on a connection of its own, which can publish as well."""
    async with (
        connect() as channel,
        consume(channel, queue, prefetch, consumer_tag) as messages,
    ):
        yield channel, messages


def text(message: AbstractIncomingMessage) -> str:
    """Return the body as text, whatever its bytes: none stops a worker."""
    return message.body.decode(errors="surrogateescape")


def raw(body: str) -> bytes:
    """Return the bytes of such a text."""
    return body.encode(errors="surrogateescape")


async def look(
    channel: AbstractChannel, queue: str, least: int = 0
) -> list[AbstractIncomingMessage]:
    """Take all that waits, as soon as it is `least` messages or more.

    Acknowledge each, or hand it back; the rest goes back with the channel.
    """
    source = await channel.get_queue(queue)
    found: list[AbstractIncomingMessage] = []
    while True:
        async with clock("answer"):
            message = await source.get(fail=False, timeout=None)
        if message:
            found.append(message)
        elif len(found) >= least:
            return found
        else:
            await asyncio.sleep(0.1)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a demonstration, or end with one line if there is no server."""

    async def demonstration() -> None:
        logging.disable()  # The client's own words would come before ours.
        try:
            async with connect():
                pass
        except OSError as error:
            place = URL.rpartition("@")[2].strip("/")
            raise SystemExit(
                f"no connection to RabbitMQ at {place} ({error}): "
                "docker compose up --wait rabbitmq starts it, "
                "or make brokers ONLY=rabbitmq"
            ) from error
        logging.disable(logging.NOTSET)
        await main()

    asyncio.run(demonstration())
