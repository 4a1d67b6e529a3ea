"""Lighthouse's marks of five pages, as on a phone, after `make site`.

`make lighthouse` gives them, the median of three runs. Lighthouse loads a page once and computes
from that how long a slow phone and a slow network would take, so the marks bear a busy machine
better than a clock would. It records nothing, and says which marks are too low, and for what.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.serving import ONLY_HERE, served
from tests.site import chromium

PAGES = ("", "patterns/work-queue/", "types/kafka/", "labs/how-long-is-the-line/", "terms/")
RUNS = 3
#: Below this, a mark is an error.
ENOUGH = 95
AIMS = {"performance": 99, "accessibility": 100, "best-practices": 100, "seo": 100}
COMMAND = Path(__file__).parent / "node_modules/.bin/lighthouse"


def report(address: str, browser: str, folder: Path) -> dict[str, Any]:
    """Return what Lighthouse says of a page. It sends nobody what it saw."""
    flags = ["--headless=new", *chromium.FLAGS, f"'{ONLY_HERE}'"]
    command = [
        str(COMMAND),
        address,
        "--output=json",
        "--quiet",
        "--no-enable-error-reporting",
        f"--only-categories={','.join(AIMS)}",
        f"--chrome-flags={' '.join(flags)}",
    ]
    its = {**os.environ, "CHROME_PATH": browser, "HOME": str(folder)}
    done = subprocess.run(command, env=its, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Lighthouse stopped at {address}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout))


def marks(its: dict[str, Any]) -> dict[str, int]:
    """Return a report's marks, of 100."""
    return {name: round(100 * (its["categories"][name]["score"] or 0)) for name in AIMS}


def reasons(its: dict[str, Any], category: str) -> list[str]:
    """Return the audits that take points from a category, the costliest first."""
    found = []
    for part in its["categories"][category]["auditRefs"]:
        audit = its["audits"][part["id"]]
        if part["weight"] and audit["score"] is not None and audit["score"] < 1:
            lost = part["weight"] * (1 - audit["score"])
            said = audit.get("displayValue", "")
            found.append((lost, f"{category}: {audit['title']} {said}".rstrip()))
    return [text for _, text in sorted(found, reverse=True)]


def main(site: Path) -> None:
    """Measure, print the table, and end with 1 if a mark is below what is enough."""
    low = []
    print(f"{'':28}" + "".join(f"{name:>16}" for name in AIMS))
    with TemporaryDirectory() as name, served(site) as [address]:
        browser = chromium.executable(Path(name))
        for page in PAGES:
            runs = [report(address + page, browser, Path(name)) for _ in range(RUNS)]
            each = [marks(one) for one in runs]
            its = {which: statistics.median(one[which] for one in each) for which in AIMS}
            print(f"/{page:27}" + "".join(f"{mark:16.0f}" for mark in its.values()), flush=True)
            for which, mark in its.items():
                if mark < AIMS[which]:
                    print("\n".join(f"    {why}" for why in reasons(runs[-1], which)), flush=True)
                if mark < ENOUGH:
                    low.append(f"/{page}: {which} is {mark:.0f}")
    if low:
        sys.exit(f"Below {ENOUGH}:\n" + "\n".join(low))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
