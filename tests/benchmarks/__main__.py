"""Measure what publishing safely costs, and record it: `make benchmark`.

With the keys of some brokers, `python -m tests.benchmarks redis nats` shows theirs and records
nothing. What depends on the machine is only compared within a broker, by the lab that reads it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import BENCHMARKS, window
from tests.benchmarks.measure import BODY, ROUNDS, SEED, WINDOW, described, rounds
from tests.brokers.debian import SHARED
from tests.records import DATA, clients

RECORD = DATA / "what_safety_costs.json"


def main(keys: Sequence[str]) -> None:
    record: dict[str, Any] = {"machine": machine()}
    record |= {"message_bytes": len(BODY), "window": WINDOW, "rounds": ROUNDS, "seed": SEED}
    record["brokers"] = brokers = {}
    for key, benchmark in BENCHMARKS.items():
        if keys and key not in keys:
            continue
        begun = time.monotonic()
        with benchmark.started() as running:
            brokers[key] = {
                "server": running["usual"].version(),
                "client": clients()[key],
                "settings": described(benchmark, rounds(benchmark, running)),
            }
        show(brokers[key])
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    if not keys:
        RECORD.write_text(compact(record))
        print(f"recorded in {RECORD.relative_to(Path.cwd())}")
    in_a_window(keys)


def in_a_window(keys: Sequence[str]) -> None:
    """Measure the page's way to publish, one at a time, in a window, and by the broker's tool."""
    record: dict[str, Any] = {"machine": machine()}
    record |= {"message_bytes": len(BODY), "rounds": window.ROUNDS}
    record["brokers"] = brokers = {}
    print("\nPublishing as the page shows it, and as the broker's own tool does")
    for key in BENCHMARKS:
        if not keys or key in keys:
            brokers[key] = window.measure(key)
            window.show(brokers[key])
    if not keys:
        window.RECORD.write_text(compact(record))
        print(f"recorded in {window.RECORD.relative_to(Path.cwd())}")


def machine() -> dict[str, Any]:
    """Return what the numbers hang on, as far as this machine says it."""
    place = max(
        (one for one in psutil.disk_partitions(all=True) if str(SHARED).startswith(one.mountpoint)),
        key=lambda one: len(one.mountpoint),
    )
    name = Path(place.device).name
    return {
        "cpus": os.cpu_count(),
        "disk": "virtual" if name.startswith(("vd", "xvd")) else name,
        "file_system": place.fstype,
        "fdatasync_ms": fdatasync_ms(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }


def fdatasync_ms() -> float:
    """Return the median time in which the disk of the servers' data takes one message."""
    times = []
    with tempfile.TemporaryFile(dir=SHARED) as file:
        for _ in range(200):
            file.write(BODY)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1000, 2)


def show(broker: dict[str, Any]) -> None:
    """Print each setting's rate as a multiple of the first one's, round by round."""
    print(f"\n{broker['server']}, {broker['client']}")
    safest = broker["settings"][0]["rate"]
    for one in broker["settings"]:
        ratios = sorted(rate / base for rate, base in zip(one["rate"], safest, strict=True))
        middle = statistics.median(ratios)
        p50, p99 = (
            "-" if one[name][0] is None else f"{statistics.median(one[name]):.2f}"
            for name in ("p50_ms", "p99_ms")
        )
        print(
            f"{one['kept']:42} {one['way']:14} {statistics.median(one['rate']):8.0f}/s"
            f" {middle:6.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  p50 {p50}  p99 {p99} ms"
        )


def compact(record: dict[str, Any]) -> str:
    """Return JSON with a line for each setting's list of numbers."""
    text = json.dumps(record, indent=1)
    parts = text.split("[\n")
    lines = [parts[0]]
    for part in parts[1:]:
        numbers, closing, rest = part.partition("]")
        if "{" in numbers:
            lines.append(f"[\n{part}")
        else:
            lines.append("[" + " ".join(numbers.split()) + closing + rest)
    return "".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
