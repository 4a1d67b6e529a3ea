# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Dead letter channel on NATS: a stream that the worker writes to."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
QUEUE, DEAD, WORKERS = "transcode", "transcode-dead", "workers"
ACK_WAIT = 30  # seconds; longer than any task, or renew it (work queue)
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare() -> None:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        await jetstream.add_stream(
            name=QUEUE,
            subjects=[QUEUE],
            retention=RetentionPolicy.WORK_QUEUE,
        )
        await jetstream.add_stream(name=DEAD, subjects=[DEAD])  # no limit
        # No max_deliver: at that limit NATS delivers no more, to nobody.
        await jetstream.add_consumer(
            QUEUE, durable_name=WORKERS, ack_wait=ACK_WAIT
        )


async def submit(messages: Sequence[str]) -> None:
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        for body in messages:
            raw = body.encode(errors="surrogateescape")  # any bytes
            await connection.jetstream().publish(QUEUE, raw)


async def work(worker: str, handle: Handler, limit: int = 0) -> None:
    async with await nats.connect(URL, name=worker) as connection:
        jetstream = connection.jetstream()
        queue = await jetstream.pull_subscribe_bind(WORKERS, QUEUE)
        settled = 0  # done or dead
        while not limit or settled < limit:
            try:
                [message] = await queue.fetch(1, timeout=1)
            except TimeoutError:
                continue  # there was nothing to do
            number = message.metadata.num_delivered
            video = ""
            try:
                if number > LIMIT:  # its workers died, or were too slow
                    raise TimeoutError("no answer to the last attempt")
                video = str(json.loads(message.data)["video"])
                await handle(video)
            except Exception as error:
                if video and number < LIMIT:
                    await message.nak()
                    continue
                await bury(jetstream, message, repr(error)[:200])
            await message.ack_sync()
            settled += 1


async def bury(jetstream: JetStreamContext, message: Msg, why: str) -> None:
    attempts = str(min(message.metadata.num_delivered, LIMIT))
    headers = {"Reason": why, "Attempts": attempts}
    await jetstream.publish(DEAD, message.data, headers=headers)


async def dead(redrive: bool = False) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async with await nats.connect(URL, max_reconnect_attempts=1) as connection:
        jetstream = connection.jetstream()
        letters = await jetstream.subscribe(DEAD, ordered_consumer=True)
        for _ in range((await jetstream.stream_info(DEAD)).state.messages):
            letter = await letters.next_msg(timeout=5)
            body = letter.data.decode(errors="surrogateescape")
            why = letter.headers or {}
            found.append((body, why["Reason"], int(why["Attempts"])))
            if redrive:
                await submit([body])
                number = letter.metadata.sequence.stream
                await jetstream.delete_msg(DEAD, number)
    return found


async def main() -> None:
    await declare()
    await submit(MESSAGES)
    unknown = {"dog.mp4"}

    async def transcode(video: str) -> None:
        if video in unknown:
            raise RuntimeError("unknown codec")
        print(f"transcoded {video}")

    await work("A", transcode, limit=3)
    print("dead:", *sorted(await dead()), sep="\n  ")
    unknown.clear()  # a new transcoder is installed
    await dead(redrive=True)
    await work("A", transcode, limit=2)
    print("dead again:", *await dead(), sep="\n  ")


if __name__ == "__main__":
    asyncio.run(main())
