"""`make atlas`: ask the brokers, show what each run saw, and keep it in docs/data/atlas/.

There are three kinds of runs: questions to clusters of three, each in every setting of a broker;
the patterns' snippets in such clusters; and trials on one server. Without options all of them run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any

from tests.atlas import record
from tests.atlas.brokers import ASKED
from tests.atlas.patterns import record as patterns_record
from tests.atlas.patterns.trials import TRIALS as PATTERNS
from tests.atlas.questions import QUESTIONS
from tests.atlas.run import cells, run, run_all, run_pattern
from tests.atlas.single.questions import QUESTIONS as SINGLE
from tests.atlas.single.trial import load
from tests.brokers import SERVERS
from tests.brokers.cluster import inside

TEST = "tests/atlas/single/test_trials.py::test_a_trial_shows_what_its_sentence_says"


def wanted() -> argparse.Namespace:
    """Return the options: what is named chooses, and of a kind of which nothing is named all run.

    Where only another kind is named, it does not run.
    """
    parser = argparse.ArgumentParser(
        prog="make atlas", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    settings = sorted({one.key for asked in ASKED.values() for one in asked.settings})
    parser.add_argument("--broker", nargs="+", default=[], choices=list(SERVERS))
    parser.add_argument(
        *("--question", "-q"),
        nargs="+",
        default=[],
        choices=[*QUESTIONS, *SINGLE],
        metavar="KEY",
        help="to clusters: " + ", ".join(QUESTIONS) + "\nto one server: " + ", ".join(SINGLE),
    )
    parser.add_argument("--setting", nargs="+", default=[], choices=settings, help="of clusters")
    parser.add_argument("--pattern", nargs="+", default=[], choices=list(PATTERNS))
    parser.add_argument("--runs", type=int, default=1, help="how often each of them runs")
    parser.add_argument("--at-once", type=int, default=4, help="how many run side by side")
    parser.add_argument("--show", action="store_true", help="keep nothing, and compare")
    return parser.parse_args()


async def in_clusters(asked: argparse.Namespace) -> list[str]:
    """Run cells and patterns, keep what they showed or compare, and return what is wrong."""
    brokers, questions, settings = asked.broker, asked.question, asked.setting
    those = cells(brokers, settings, questions) if not asked.pattern or questions else []
    patterns = [
        name
        for name, trial in PATTERNS.items()
        if name in asked.pattern or not (asked.pattern or questions or settings)
        if not brokers or trial.broker in brokers
    ]
    runs = [*(partial(run, cell) for cell in those), *(partial(run_pattern, p) for p in patterns)]
    runs *= asked.runs
    if not runs:
        return []
    if why := inside.missing():
        return [why]
    began, wrong, rows = time.monotonic(), list[str](), list[dict[str, Any]]()
    try:
        async for row in run_all(runs, asked.at_once):
            if isinstance(row, inside.InsideError):
                wrong.append(str(row))
                continue
            rows.append(row)
            if asked.show and "pattern" not in row and (how := record.differs(row)):
                wrong.append(how)
            print(json.dumps({key: row[key] for key in row if key != "history"}), flush=True)
    finally:
        if rows and not asked.show:
            record.write(row for row in rows if "pattern" not in row)
            patterns_record.write(row for row in rows if "pattern" in row)
        print(f"{len(rows)} of {len(runs)} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return wrong


def on_one_server(asked: argparse.Namespace) -> list[str]:
    """Run the trials, which are tests, and keep what they showed; return what is wrong."""
    if (asked.setting or asked.pattern) and not asked.question:
        return []
    keys = [
        key
        for key, trial in load().items()
        if not asked.broker or trial.broker in asked.broker
        if not asked.question or trial.question in asked.question
    ]
    if not keys:
        return []
    tests = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--quiet", f"--numprocesses={asked.at_once}"),
            *("--dist=loadscope", "--no-loadscope-reorder", *(() if asked.show else ("--update",))),
            *(f"{TEST}[{key}]" for key in keys),
        ],
        env={**os.environ, "ATLAS": "all", "ATLAS_RUNS": str(asked.runs), "GENERATION": "newest"},
        check=False,
    )
    return ["trials on one server failed: see above"] if tests.returncode else []


if __name__ == "__main__":
    asked = wanted()
    try:
        wrong = [*asyncio.run(in_clusters(asked)), *on_one_server(asked)]
    except KeyboardInterrupt:
        sys.exit("interrupted")
    if wrong:
        sys.exit("\n".join(wrong))
