# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Load levelling: a burst waits in the queue, the worker keeps its pace."""

import asyncio

from minibroker import Broker

QUEUE = "transcode"
ARRIVALS = [3, 9, 9, 3, 2, 1, 1, 1, 1, 0]  # uploads in each tick: 30
PACE = 4  # videos that the worker can do in a tick


def work(broker: Broker, now: int) -> list[int]:
    """Do what fits into one tick; return how long each video has waited."""
    waited: list[int] = []
    with broker.consume(QUEUE) as tasks:
        while tasks.unacked and len(waited) < PACE:
            task = tasks.unacked[0]
            waited.append(now - int(task.message.headers["tick"]))
            task.ack()
    return waited


async def burst() -> None:
    broker = Broker()
    broker.declare(QUEUE)
    refused, waits = 0, list[int]()
    print(f"{'':15}  called:  queued:")
    print("tick  uploads    refused  waiting")
    for tick, uploads in enumerate(ARRIVALS, start=1):
        no_room = max(0, uploads - PACE)  # a call finds the worker busy
        refused += no_room
        for _ in range(uploads):
            broker.publish(QUEUE, "video", tick=str(tick))
        waits += work(broker, tick)
        waiting = "=" * len(broker.find(QUEUE).ready)
        print(f"{tick:4}  {'=' * uploads:9}  {no_room:7}  {waiting}".rstrip())
    print(f"called: {sum(ARRIVALS) - refused} done, {refused} refused")
    print(f"queued: {len(waits)} done, longest wait {max(waits)} ticks")


async def overload() -> None:
    broker = Broker()
    broker.declare(QUEUE)
    print(f"{PACE + 1} uploads in each tick, for ever:")
    for tick in range(1, 1001):
        for _ in range(PACE + 1):
            broker.publish(QUEUE, "video", tick=str(tick))
        waits = work(broker, tick)
        if tick in (10, 100, 1000):
            waiting = len(broker.find(QUEUE).ready)
            print(f"tick {tick}: {waiting} waiting, wait {waits[-1]} ticks")


async def main() -> None:
    await burst()
    await overload()


if __name__ == "__main__":
    asyncio.run(main())
