# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Three models: the same uploads, who gets them, and what a newcomer gets."""

import asyncio
from contextlib import ExitStack

from minibroker import Broker

UPLOADS = ("cat", "dog", "owl")
BROKER = Broker()


def take(queues: dict[str, str]) -> dict[str, list[str]]:
    """Let each consumer work off its queue, in turns, until all are empty."""
    got: dict[str, list[str]] = {name: [] for name in queues}
    with ExitStack() as stack:
        consumers = [
            stack.enter_context(BROKER.consume(queue, name, prefetch=1))
            for name, queue in queues.items()
        ]
        while busy := [c for c in consumers if not c.inbox.empty()]:
            for consumer in busy:
                delivery = consumer.inbox.get_nowait()
                got[consumer.name].append(delivery.message.body)
                delivery.ack()
    return got


async def read(group: str) -> list[str]:
    """Read the log up to its end, from where the group left off."""
    got: list[str] = []
    async for record in BROKER.read("log", group):
        got.append(record.body)
        BROKER.commit("log", group, record)
        if record.id == len(BROKER.logs["log"]) - 1:
            break
    return got


def show(model: str, got: dict[str, list[str]]) -> None:
    print(f"{model}:")
    for name, uploads in got.items():
        print(f"  {name:9} {', '.join(uploads) or 'nothing'}")


async def main() -> None:
    BROKER.declare("queue")
    BROKER.bind("queue", "upload")
    for name in ("A", "B"):  # publish-subscribe: a queue for each
        BROKER.declare(f"copy for {name}")
        BROKER.bind(f"copy for {name}", "upload")
    for upload in UPLOADS:
        BROKER.publish("upload", upload)
        BROKER.append("log", upload)

    show("queue", take({"A": "queue", "B": "queue"}) | take({"late": "queue"}))

    got = take({name: f"copy for {name}" for name in ("A", "B")})
    BROKER.declare("copy for late")
    BROKER.bind("copy for late", "upload")
    show("publish-subscribe", got | take({"late": "copy for late"}))

    show("log", {name: await read(name) for name in ("A", "B", "late")})
    held = sum(len(queue.ready) for queue in BROKER.queues.values())
    print(f"left in the queues: {held}, in the log: {len(BROKER.logs['log'])}")


if __name__ == "__main__":
    asyncio.run(main())
