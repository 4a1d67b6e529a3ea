# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Decoupling: uploader and transcoder share a queue, and nothing else."""

import asyncio

from minibroker import DEAD_LETTERS, Broker

BROKER = Broker()
QUEUE = "transcode"  # all that the two programs know in common
pages: dict[str, str] = {}  # what viewers see


def page(video: str) -> str:
    return f"page of {video}: {pages.get(video, 'nothing yet')}"


async def upload(video: str) -> None:
    BROKER.publish(QUEUE, video)
    print(f"upload: {video} accepted")
    print(f"  {page(video)}")


async def transcoder(name: str) -> None:
    with BROKER.consume(QUEUE, name) as tasks:
        while tasks.unacked:  # It takes one until none waits.
            task = tasks.unacked[0]
            video = task.message.body
            if video.endswith(".mp4"):
                pages[video] = f"ready, by {name}"
                task.ack()
            else:
                task.nack(requeue=False)
            print(f"{name}: done with {video}")


async def main() -> None:
    BROKER.declare(QUEUE)
    print("time: no transcoder is running")
    await upload("cat.mp4")
    await upload("dog.txt")
    print("upload is done; a transcoder starts")
    await transcoder("transcoder 1")
    print(f"  {page('cat.mp4')}")

    print("space: another transcoder takes over")
    await upload("owl.mp4")
    await transcoder("transcoder 2")
    print(f"  {page('owl.mp4')}")

    print("what became of dog.txt?")
    print(f"  {page('dog.txt')}")
    for letter in BROKER.find(DEAD_LETTERS).ready:
        reason = letter.message.headers["death_reason"]
        print(f"  {DEAD_LETTERS}: {letter.message.body}, {reason}")


if __name__ == "__main__":
    asyncio.run(main())
