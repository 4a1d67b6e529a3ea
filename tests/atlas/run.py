"""Run cells from outside, each in machines of its own; they mostly wait, so several at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from tests.atlas.brokers import ASKED
from tests.atlas.questions import QUESTIONS
from tests.brokers.cluster import inside

#: Longer than any cell takes, also on a busy machine.
SECONDS = 580
#: The keys of a broker, of one of its settings, and of a question.
Cell = tuple[str, str, str]


def cells(
    brokers: Iterable[str] = (), settings: Iterable[str] = (), questions: Iterable[str] = ()
) -> list[Cell]:
    """Return the cells of these brokers, settings and questions; of all where none is named."""
    return [
        (broker, setting.key, question)
        for broker, asked in ASKED.items()
        for setting in asked.settings
        for question in QUESTIONS
        if question not in asked.cannot
        if not brokers or broker in brokers
        if not settings or setting.key in settings
        if not questions or question in questions
    ]


async def run(cell: Cell) -> dict[str, Any]:
    """Return the row that a cell prints."""
    row: dict[str, Any] = json.loads(await inside.run("tests.atlas.cell", *cell, seconds=SECONDS))
    return row


async def run_all(
    cells: Iterable[Cell], at_once: int
) -> AsyncIterator[dict[str, Any] | inside.InsideError]:
    """Yield the rows of cells as they end, or what made one fail."""
    room = asyncio.Semaphore(at_once)

    async def one(cell: Cell) -> dict[str, Any] | inside.InsideError:
        async with room:
            try:
                return await run(cell)
            except inside.InsideError as error:
                return error

    running = [asyncio.ensure_future(one(cell)) for cell in cells]
    try:
        for row in asyncio.as_completed(running):
            yield await row
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
