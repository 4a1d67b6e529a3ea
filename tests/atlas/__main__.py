"""`make atlas`: ask the brokers, show a line of JSON a cell, and keep it in docs/data/atlas/."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from tests.atlas import record
from tests.atlas.brokers import ASKED
from tests.atlas.questions import QUESTIONS
from tests.atlas.run import Cell, cells, run_all
from tests.brokers.cluster import inside


def wanted() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make atlas", description=__doc__)
    settings = sorted({one.key for asked in ASKED.values() for one in asked.settings})
    parser.add_argument("--broker", nargs="+", default=[], choices=list(ASKED))
    parser.add_argument("--setting", nargs="+", default=[], choices=settings)
    parser.add_argument("--question", nargs="+", default=[], choices=list(QUESTIONS))
    parser.add_argument("--runs", type=int, default=1, help="how often each cell runs")
    parser.add_argument("--at-once", type=int, default=4, help="how many cells run side by side")
    parser.add_argument("--show", action="store_true", help="keep nothing, and compare")
    return parser.parse_args()


async def main(chosen: list[Cell], at_once: int, *, keep: bool) -> list[str]:
    """Run the cells, keep what they showed or compare, and return what is wrong."""
    began, wrong = time.monotonic(), list[str]()
    rows: list[dict[str, Any]] = []
    try:
        async for row in run_all(chosen, at_once):
            if isinstance(row, inside.InsideError):
                wrong.append(str(row))
                continue
            rows.append(row)
            if not keep and (how := record.differs(row)):
                wrong.append(how)
            print(json.dumps({key: row[key] for key in row if key != "history"}), flush=True)
    finally:
        if keep and rows:
            record.write(rows)
        print(f"{len(rows)} of {len(chosen)} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return wrong


if __name__ == "__main__":
    asked = wanted()
    if why := inside.missing():
        sys.exit(why)
    chosen = cells(asked.broker, asked.setting, asked.question) * asked.runs
    if not chosen:
        sys.exit("no cell is of this broker, this setting and this question at once")
    try:
        if wrong := asyncio.run(main(chosen, asked.at_once, keep=not asked.show)):
            sys.exit("\n".join(wrong))
    except KeyboardInterrupt:
        sys.exit("interrupted")
