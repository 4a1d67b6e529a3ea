"""One cell, inside: a cluster on three machines, a load, a fault, and a line of JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

from tests.atlas.asked import QUEUE, Asked
from tests.atlas.brokers import ASKED
from tests.atlas.checker import check
from tests.atlas.history import History
from tests.atlas.load import Load, Producer
from tests.atlas.questions import QUESTIONS, Question, Scene
from tests.brokers.cluster.inside import enter
from tests.brokers.cluster.machines import NUMBERS, machines

#: How long the load goes on before the fault, in seconds.
CALM = 2.0
#: The load ends when so many messages that were sent after the fault are confirmed, or so late.
AFTERWARDS, AFTERWARDS_SECONDS = 100, 60.0


async def run(question: Question, asked: Asked) -> dict[str, Any]:
    """Return the row of a cell: what was seen, on what, how long it took, and the history."""
    began = time.monotonic()
    cluster = asked.cluster
    await cluster.start()
    await asked.declare()
    leader = await cluster.leader(QUEUE)
    if question.disks:
        for machine in cluster.machines.values():
            machine.sync()
    order = [leader, *(number for number in NUMBERS if number != leader)]
    producer = Producer(asked.connect, order, stays=asked.stays)
    await producer.open()
    load = Load(producer)
    over: float | None = None

    def enough() -> bool:
        if over is None:
            return False
        late = load.now() > over + AFTERWARDS_SECONDS
        return late or load.confirmed_since(over) >= AFTERWARDS

    loading = asyncio.create_task(load.run(enough))
    await asyncio.sleep(CALM)
    load.note(f"the fault begins: {question.key}, and n{leader} leads")
    operate = partial(asked.operate, question, leader)
    await question.act(Scene(cluster, QUEUE, leader, operate, load.note))
    over = load.now()
    whole = asyncio.create_task(_time_of(cluster.whole()))
    await loading
    await producer.close()
    healed = await whole
    load.history.read = await asked.read()
    packed = load.history.packed()
    # Of what is kept, whose times are rounded: the same verdict can be had from it again.
    verdict = check(History.unpacked(packed))
    return {
        "broker": asked.key,
        "setting": asked.setting,
        "question": question.key,
        "server": await cluster.version(),
        "client": f"{asked.client} {version(asked.client)}",
        "took": round(time.monotonic() - began),
        "seen": {**asdict(verdict), "whole": round(healed, 1)},
        "history": base64.b64encode(packed).decode(),
    }


async def _time_of(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def main(broker: str, setting: str, key: str) -> None:
    question = QUESTIONS[key]
    asked = ASKED[broker](setting, machines(disks=question.disks))
    try:
        row = await run(question, asked)
    except Exception:
        print(asked.cluster.logs(), file=sys.stderr)
        raise
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    enter()
    # Clients tell of each lost connection.
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
