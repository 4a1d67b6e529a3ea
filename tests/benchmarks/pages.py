"""What the page says of publishing in a window, from the record."""

from __future__ import annotations

import json
import statistics
from typing import Any

from handbook.brokers import named
from tests.benchmarks.window import RECORD, ratios

HEAD = (
    "| | Window | Keep the connection | And use the window | The broker's own tool is at 1 |\n"
    "|---|--:|--:|--:|---|"
)


def table() -> str:
    """Return the ratios as the page prints them: the middle of the rounds, two digits."""
    lines = [HEAD]
    for key, found in json.loads(RECORD.read_text())["brokers"].items():
        kept = _middle(found, "one_at_a_time", "a_connection_each")
        window = _middle(found, "in_a_window", "one_at_a_time")
        tool = f"{statistics.median(ratios(found, 'in_a_window', 'by_the_tool')):.2f}"
        label = named(key).label
        lines.append(
            f"| {label} | {found['window']} | {kept} times | {window} times"
            f" | {tool} of {found['tool']} |"
        )
    return "\n".join(lines)


def _middle(found: dict[str, Any], above: str, below: str) -> str:
    middle = statistics.median(ratios(found, above, below))
    return f"{middle:.0f}" if middle >= 10 else f"{middle:.1f}"
