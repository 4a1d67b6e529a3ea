# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Independent scaling: add workers where the queue is, and only there."""

import asyncio
from contextlib import ExitStack

from minibroker import Broker, Consumer

TICKS = {  # how long each video takes to transcode: 24 ticks in all
    "cat": 6,
    "dog": 2,
    "owl": 2,
    "fox": 2,
    "bee": 6,
    "elk": 2,
    "ant": 2,
    "emu": 2,
}


def run(transcode: int, thumbnail: int) -> tuple[int, list[str]]:
    """Work everything off; return the ticks it took, and in what order."""
    broker, tick, finished = Broker(), 0, list[str]()
    spent: dict[Consumer, int] = {}  # ticks spent on the task at hand
    with ExitStack() as stack:
        stages = {"transcode": transcode, "thumbnail": thumbnail}
        for queue, workers in stages.items():
            broker.declare(queue)
            for number in range(workers):
                name = f"{queue} {number}"
                worker = stack.enter_context(broker.consume(queue, name))
                spent[worker] = 0
        for video in TICKS:
            broker.publish("transcode", video)

        while len(finished) < len(TICKS):
            tick += 1
            # What each holds now; an ack in this tick counts from the next.
            for worker, task in [(w, t) for w in spent for t in w.unacked]:
                video = task.message.body
                transcodes = worker.queue.name == "transcode"
                spent[worker] += 1
                if spent[worker] < (TICKS[video] if transcodes else 1):
                    continue
                spent[worker] = 0
                task.ack()
                if transcodes:
                    broker.publish("thumbnail", video)
                else:
                    finished.append(video)
    return tick, finished


async def main() -> None:
    print("workers at queue")
    print("transcode  thumbnail  ticks  finished in this order")
    for transcode, thumbnail in ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2)):
        ticks, order = run(transcode, thumbnail)
        print(f"{transcode:9}  {thumbnail:9}  {ticks:5}", "", *order)


if __name__ == "__main__":
    asyncio.run(main())
