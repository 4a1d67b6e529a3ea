"""NATS in asyncio: nats-py, with a clock on each wait and no quiet end.

The client connects again by itself. It tells only callbacks of a right that
is missing, or of a server that stays away. Here, both raise an error.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    ConnectionClosedError,
    MaxPayloadError,
    NoRespondersError,
    OutboundBufferLimitError,
)
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StorageType,
)
from nats.js.errors import ServiceUnavailableError

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
SECONDS = 15.0  # for an answer: longer than a server may stand still
AWAY = 40.0  # seconds for which the client tries to connect again
FORGET = 3600.0  # seconds until a reader without a name is deleted
FIRST_ID = "first-id"
SIGNS = "!#$%&'*+-.^_`|~ "  # A header's name may have these, too.
HEAD = "NATS/1.0\r\n\r\n"  # It encloses the headers.
LOST = (
    ConnectionClosedError,
    NoRespondersError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
)


class NotConnectedError(OutboundBufferLimitError):
    """The client is connecting again. It has sent nothing."""

    def __str__(self) -> str:
        return "no connection now, and nothing was sent: publish it again"


class TooLargeError(MaxPayloadError):
    """The server takes no message of this size: nothing was sent."""

    def __str__(self) -> str:
        size, limit = self.args
        return f"{size} bytes with the headers, and NATS takes {limit}"


class Connection(Client):
    """The client: a refused publish says so, and a cancelled call ends."""

    def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> Coroutine[Any, Any, None]:
        if not (self.is_connected or self.is_closed):
            raise NotConnectedError
        # The client counts the body alone. For what is larger, the server
        # would end the connection, and publishers wait in vain.
        lines = [f"{name}: {its}\r\n" for name, its in (headers or {}).items()]
        size = len(payload) + len("".join(lines).encode()) + len(HEAD)
        if headers and size > self.max_payload:
            raise TooLargeError(size, self.max_payload)
        return super().publish(subject, payload, reply, headers)

    async def request(self, *what: Any, **more: Any) -> Msg:
        with end_if_cancelled():
            return await super().request(*what, **more)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """Keep all headers of one name; the client would keep the last.

        The earlier ones get spaces behind their name, which the client does
        not send: a copy has them all again.
        """
        found: dict[str, str] = {}
        for line in reversed(raw.split(b"\r\n")):
            for name, value in Client._parse_header_lines(line).items():
                while name in found:
                    name += " "
                found[name] = value
        return dict(reversed(found.items()))


@contextmanager
def end_if_cancelled() -> Iterator[None]:
    """End what is cancelled, although Python 3.11's wait_for() forgets it."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def address() -> dict[str, Any]:
    """Read one server or several (a,b), with a user or a token for all.

    The client would leave encoded what is encoded in an address.
    """
    urls = [urlsplit(url.strip()) for url in URL.split(",")]
    servers = [
        url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
        for url in urls
    ]
    both = urls[0].username, urls[0].password
    login = [unquote(each) for each in both if each is not None]
    names = ("user", "password") if len(login) > 1 else ("token",)
    return {"servers": servers, **dict(zip(names, login, strict=False))}


@asynccontextmanager
async def connect_core(
    name: str | None = None, reconnect: bool = True
) -> AsyncIterator[Client]:
    """Open what a service keeps; a failure ends its user, and says why."""
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
        if user.when() is None:  # Else the clock runs already.
            end(clock() + AWAY)

    async def back() -> None:
        causes.clear()
        end(None)

    connection = Connection()
    try:
        async with asyncio.timeout(SECONDS) as user:
            await connection.connect(
                **address(),
                name=name,
                ping_interval=5,  # After two silent ones it connects anew.
                allow_reconnect=reconnect,
                max_reconnect_attempts=-1,  # `away` has the clock
                pending_size=0,  # Else it would send, late, what failed.
                error_cb=failed,
                disconnected_cb=away,
                reconnected_cb=back,
            )
            user.reschedule(None)
            async with connection:  # This closes it, too.
                yield connection
    except (TimeoutError, *LOST) as error:
        if not (user.expired() or isinstance(error, nats.errors.Error)):
            raise  # It is a time-out of its user.
        silent = "no answer, or no such stream or consumer"
        then = f" ({error})" if str(error) else ""
        raise ConnectionError(
            f"NATS: {causes[-1] if causes else silent}{then}"
        ) from error


@asynccontextmanager
async def connect(
    name: str | None = None, reconnect: bool = True
) -> AsyncIterator[JetStreamContext]:
    async with connect_core(name, reconnect) as connection:
        # Each publish_async() that fails would keep one of 4000 places.
        yield connection.jetstream(
            timeout=SECONDS, publish_async_max_pending=sys.maxsize
        )


async def declare_log(
    jetstream: JetStreamContext,
    name: str,
    keep: float,
    subjects: list[str] | None = None,
    **more: Any,
) -> None:
    """Declare a stream of events, which keeps them for some time."""
    await jetstream.add_stream(
        name=name,
        subjects=subjects or [name],
        max_age=keep,  # seconds
        storage=StorageType.FILE,  # It is fsynced every 2 minutes by default.
        **more,
    )


async def declare_queue(
    jetstream: JetStreamContext,
    name: str,
    consumer: str,
    ack_wait: float,
    waiting: int = 1000,
    **more: Any,
) -> None:
    """Declare a stream of tasks, and the consumer that its workers share."""
    await jetstream.add_stream(
        name=name,
        subjects=[name],
        retention=RetentionPolicy.WORK_QUEUE,  # It deletes what is done.
        storage=StorageType.FILE,  # It is fsynced every 2 minutes by default.
        **more,
    )
    await jetstream.add_consumer(
        name,
        durable_name=consumer,  # the server keeps its place by this name
        ack_wait=ack_wait,
        # It counts for all workers together, and more would wait. We set no
        # max_deliver: at that limit NATS delivers to nobody any more.
        max_ack_pending=waiting,
    )


async def send(jetstream: JetStreamContext, to: str, body: str) -> None:
    """Publish with an id of its own, and wait for the confirm."""
    raw = body.encode(errors="surrogateescape")  # It may be any bytes.
    await jetstream.publish(to, raw, headers={"Nats-Msg-Id": str(uuid4())})


def text(message: Msg) -> str:
    """Take any bytes: a bad message must not stop its worker."""
    return message.data.decode(errors="surrogateescape")


async def batches(
    jetstream: JetStreamContext,
    stream: str,
    consumer: str,
    prefetch: int = 1,
    limit: int | None = None,
) -> AsyncIterator[list[Msg]]:
    """Fetch messages, and the next ones when their reader is done."""
    source = await jetstream.pull_subscribe_bind(consumer, stream)
    async for held in fetch(source, prefetch, limit):
        yield held


async def fetch(
    source: JetStreamContext.PullSubscription,
    prefetch: int = 1,
    limit: int | None = None,
) -> AsyncIterator[list[Msg]]:
    done = 0
    while limit is None or done < limit:
        batch = min(prefetch, limit - done) if limit else prefetch
        try:
            with end_if_cancelled():
                held = await source.fetch(batch, timeout=5)
        except TimeoutError:
            continue  # There is nothing.
        done += len(held)
        yield held


async def consume(
    jetstream: JetStreamContext,
    stream: str,
    consumer: str,
    limit: int | None = None,
) -> AsyncIterator[Msg]:
    """Fetch one message, and the next one when its reader has settled it."""
    async for [message] in batches(jetstream, stream, consumer, 1, limit):
        yield message


async def look(jetstream: JetStreamContext, stream: str) -> AsyncIterator[Msg]:
    """Look at all messages of a stream, which keeps them."""
    messages = await jetstream.subscribe(stream, ordered_consumer=True)
    for _ in range((await jetstream.stream_info(stream)).state.messages):
        yield await messages.next_msg(timeout=5)
    await messages.unsubscribe()


@asynccontextmanager
async def read_from(
    stream: str, position: int
) -> AsyncIterator[JetStreamContext.PullSubscription]:
    """Read a stream from a sequence on: its reader keeps the position."""
    # Raise when the connection is lost: the server goes on behind what was
    # under way, and a message would be missing.
    async with connect(reconnect=False) as jetstream:
        await jetstream.add_stream(name=stream, subjects=[stream])
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=position,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=FORGET,
        )
        yield await jetstream.pull_subscribe(
            stream, stream=stream, config=config
        )


async def present(
    source: JetStreamContext.PullSubscription,
) -> AsyncIterator[Msg]:
    """Fetch what is there now; raise if it does not come."""
    left = (await source.consumer_info()).num_pending or 0
    while left:
        for message in await source.fetch(min(left, 100), timeout=5):
            yield message
            left -= 1


async def forward(
    jetstream: JetStreamContext, to: str, message: Msg, **more: str
) -> None:
    """Publish a copy with its headers, its id, and where it came from."""
    its, at = message.headers or {}, message.metadata
    number = at.sequence.stream
    # Orders to the first stream, such as Nats-Expected-Stream, are not for
    # this one. A name that the client would refuse to write is encoded.
    headers = {
        quote(name, safe=SIGNS): value
        for name, value in its.items()
        if not name.startswith("Nats-")
    }
    first = its.get(FIRST_ID) or its.get("Nats-Msg-Id", "")
    new = {
        FIRST_ID: first,
        "origin": message.subject,
        # A stream that has seen the first id would drop the copy. With this
        # id it drops only a second copy of this message, which comes if a
        # worker dies in between. The time is in it, as a stream that is made
        # again begins to count again.
        "Nats-Msg-Id": f"{first}@{at.stream}/{number}/{at.timestamp}",
    }
    await jetstream.publish(to, message.data, headers=headers | new | more)


@asynccontextmanager
async def renewed(held: list[Msg], ack_wait: float) -> AsyncIterator[None]:
    """Tell the server that this worker lives, however long a task takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(ack_wait / 4)
            with suppress(OutboundBufferLimitError):  # It may be back soon.
                for message in held[:]:
                    await message.in_progress()

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a demonstration, or end with one line if there is no server."""

    async def demonstration() -> None:
        causes: list[Exception] = []

        async def failed(cause: Exception) -> None:
            causes.append(cause)

        try:
            async with await nats.connect(
                **address(),
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=failed,
            ):
                pass
        except (OSError, nats.errors.Error) as error:
            place = URL.rpartition("@")[2]
            raise SystemExit(
                f"no connection to NATS at {place} ({(*causes, error)[0]}): "
                "docker compose up --wait nats starts it, "
                "or make brokers ONLY=nats"
            ) from error
        await main()

    asyncio.run(demonstration())
