# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Topic router on NATS JetStream: a consumer filters by subject."""

from collections.abc import Awaitable, Callable, Sequence

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from nats_client import SECONDS, connect, consume, declare_log, run, text

STREAM = "videos"
SUBJECTS = ["video", "video.>"]  # ">" stands for one word or more
KEEP = 7 * 24 * 3600.0  # seconds; who is away for longer loses events
ACK_WAIT = 2.0  # seconds until an unacknowledged event comes again; usual: 30

Handler = Callable[[str, str], Awaitable[None]]


async def subscribe(
    jetstream: JetStreamContext, receiver: str, patterns: Sequence[str]
) -> None:
    await declare_log(jetstream, STREAM, KEEP, SUBJECTS)
    try:
        config = (await jetstream.consumer_info(STREAM, receiver)).config
    except NotFoundError:
        config = ConsumerConfig(
            durable_name=receiver,  # the server keeps its place by it
            deliver_policy=DeliverPolicy.NEW,
            ack_wait=ACK_WAIT,
        )
    both = {*patterns, *(config.filter_subjects or [])}
    # The server refuses two filters that can match the same subject.
    await jetstream.add_consumer(STREAM, config, filter_subjects=sorted(both))


async def publish(
    jetstream: JetStreamContext, events: Sequence[tuple[str, str]]
) -> list[str] | None:
    """Return None: the stream takes every event, whoever wants it."""
    await declare_log(jetstream, STREAM, KEEP, SUBJECTS)
    for key, body in events:  # connection.publish() would not wait
        await jetstream.publish(key, body.encode())
    return None


async def receive(
    receiver: str, handle: Handler, limit: int | None = None
) -> None:
    async with connect(receiver) as jetstream:
        async for message in consume(jetstream, STREAM, receiver, limit):
            await handle(message.subject, text(message))
            await message.ack_sync(SECONDS)


async def main() -> None:
    async with connect() as jetstream:

        def printer(receiver: str) -> Handler:
            async def show(key: str, body: str) -> None:
                print(f"{receiver}: {key} {body}")

            return show

        await subscribe(jetstream, "german", ["video.*.de"])
        await subscribe(jetstream, "player", ["video.transcoded.>"])
        await publish(
            jetstream,
            [
                ("video.transcoded.de", "cat.mp4"),
                ("video.transcoded.en.4k", "dog.mp4"),
                ("video.uploaded.de", "bee.mp4"),
                ("video.deleted.en", "owl.mp4"),
            ],
        )
        print("nobody wants: NATS can't tell")
        await receive("german", printer("german"), limit=2)
        await receive("player", printer("player"), limit=2)


if __name__ == "__main__":
    run(main)
