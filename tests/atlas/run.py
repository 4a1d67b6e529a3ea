"""Run cells from outside, each in machines of its own; they mostly wait, so several at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from tests.atlas.brokers import ASKED
from tests.atlas.questions import QUESTIONS
from tests.brokers.cluster import inside

#: Longer than any cell takes, also on a busy machine.
SECONDS = 1200
#: The keys of a broker, of one of its settings, and of a question.
Cell = tuple[str, str, str]
Row = dict[str, Any]


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


async def run(cell: Cell) -> Row:
    """Return the row that a cell prints."""
    row: Row = json.loads(await inside.run("tests.atlas.cell", *cell, seconds=SECONDS))
    return row


async def run_pattern(pattern: str) -> Row:
    """Return the row that a pattern's trial prints."""
    said = await inside.run("tests.atlas.patterns.cell", pattern, seconds=SECONDS)
    row: Row = json.loads(said)
    return row


async def run_all(
    runs: Iterable[Callable[[], Awaitable[Row]]], at_once: int
) -> AsyncIterator[Row | inside.InsideError]:
    """Yield the rows of runs as they end, or what made one fail."""
    room = asyncio.Semaphore(at_once)

    async def one(run: Callable[[], Awaitable[Row]]) -> Row | inside.InsideError:
        async with room:
            try:
                return await run()
            except inside.InsideError as error:
                return error

    running = [asyncio.ensure_future(one(each)) for each in runs]
    try:
        for row in asyncio.as_completed(running):
            yield await row
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
