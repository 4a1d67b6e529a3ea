# /// script
# requires-python = ">=3.11"
# dependencies = ["nats-py>=2.16"]
# ///
"""Dead letter channel on NATS: a stream that the worker writes to."""

import json
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg
from nats.js import JetStreamContext

import nats_client
from nats_client import SECONDS, connect, consume, forward, run, text

QUEUE, DEAD, WORKERS = "transcode", "transcode-dead", "workers"
ACK_WAIT = 30  # seconds; longer than any task, or renew it (work queue)
LIMIT = 3  # attempts
MESSAGES = ['{"video": "cat.mp4"}', '{"video": "dog.mp4"}', "video=owl.mp4"]

Handler = Callable[[str], Awaitable[None]]


async def declare(jetstream: JetStreamContext) -> None:
    await nats_client.declare_queue(jetstream, QUEUE, WORKERS, ACK_WAIT)
    await jetstream.add_stream(name=DEAD, subjects=[DEAD])  # It has no limit.


async def submit(jetstream: JetStreamContext, messages: Sequence[str]) -> None:
    for body in messages:
        await nats_client.send(jetstream, QUEUE, body)


async def work(worker: str, handle: Handler, limit: int | None = None) -> None:
    async with connect(worker) as jetstream:
        settled = 0  # It counts what is done or dead.
        async for message in consume(jetstream, QUEUE, WORKERS):
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
            await message.ack_sync(SECONDS)
            settled += 1
            if settled == limit:
                return


async def bury(jetstream: JetStreamContext, message: Msg, why: str) -> None:
    attempts = str(min(message.metadata.num_delivered, LIMIT))
    await forward(jetstream, DEAD, message, Reason=why, Attempts=attempts)


async def dead(
    jetstream: JetStreamContext, redrive: bool = False
) -> list[tuple[str, str, int]]:
    """Look at the dead letters (body, reason, attempts), or send them back."""
    found = []
    async for letter in nats_client.look(jetstream, DEAD):
        # Another program's letter has no reason.
        why = {"Reason": "?", "Attempts": "0", **(letter.headers or {})}
        found.append((text(letter), why["Reason"], int(why["Attempts"])))
        if redrive:
            await forward(jetstream, QUEUE, letter)
            number = letter.metadata.sequence.stream
            await jetstream.delete_msg(DEAD, number)
    return found


async def main() -> None:
    async with connect() as jetstream:
        await declare(jetstream)
        await submit(jetstream, MESSAGES)
        unknown = {"dog.mp4"}

        async def transcode(video: str) -> None:
            if video in unknown:
                raise RuntimeError("unknown codec")
            print(f"transcoded {video}")

        await work("A", transcode, limit=3)
        print("dead:", *sorted(await dead(jetstream)), sep="\n  ")
        unknown.clear()  # a new transcoder is installed
        await dead(jetstream, redrive=True)
        await work("A", transcode, limit=2)
        print("dead again:", *await dead(jetstream), sep="\n  ")


if __name__ == "__main__":
    run(main)
