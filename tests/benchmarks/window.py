"""Publishing in a window, as the page shows it: against the broker's own tool and slower ways.

All on the same server, one after the other, in each round; what is compared is the ratio.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import Iterable
from time import perf_counter
from types import ModuleType
from typing import Any

from tests.benchmarks.measure import BODY
from tests.benchmarks.tools import TOOLS, MissingError
from tests.brokers import Server, make
from tests.patterns.home import load
from tests.records import DATA, clients
from tests.snippets.running import SNIPPETS

RECORD = DATA / "publishing_in_a_window.json"
FOLDER = SNIPPETS / "best_practices" / "service_window"
ROUNDS = 5
#: How many messages are published with a connection for each.
CONNECTIONS = 30
WAYS = ("a_connection_each", "one_at_a_time", "in_a_window", "by_the_tool")

#: How many messages one at a time, and how many in a window and by the tool: a second or two.
COUNTS = {
    "rabbitmq": (500, 10_000),
    "kafka": (500, 100_000),
    "nats": (1_000, 20_000),
    "redis": (500, 50_000),
    "mqtt": (1_000, 10_000),
    "postgresql": (500, 20_000),
}


def measure(key: str) -> dict[str, Any]:
    """Return the rates of each round, on a server of its own."""
    one, many = COUNTS[key]
    server = make(key)
    try:
        server.start()
        if key == "redis":  # as the others do: an answer means that it is on the disk
            assert server._ask("CONFIG SET appendfsync always").startswith("+OK")  # type: ignore[attr-defined]
        snippet = load_for(server)
        found: dict[str, Any] = {
            "server": server.version(),
            "client": clients()[key],
            "window": snippet.WINDOW,
            "tool": TOOLS[key][0],
        }
        rates = asyncio.run(publishing(snippet, server, one, many))
        return found | {name: [round(rate) for rate in rates[name]] for name in rates}
    finally:
        server.close()


def load_for(server: Server) -> ModuleType:
    """Load the page's snippet, whose companions read the address as they are imported."""
    os.environ |= server.environment_of_clients
    sys.path.insert(0, str(SNIPPETS))
    return load(FOLDER / server.broker.file_name)


async def publishing(
    snippet: ModuleType, server: Server, one: int, many: int
) -> dict[str, list[float]]:
    """Measure in turn; the first round is a warm-up."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    if hasattr(snippet, "declare"):
        async with snippet.connect() as it:
            # Mosquitto's sessions would fill up: it publishes for nobody.
            if server.key != "mqtt":
                await snippet.declare(it)
    for number in range(ROUNDS + 1):
        start = perf_counter()
        for _ in range(CONNECTIONS):
            async with snippet.connect() as it:
                await snippet.submit(it, [BODY.decode()])
        anew = CONNECTIONS / (perf_counter() - start)
        async with snippet.connect() as it:
            alone = await timed(snippet, it, one, window=1)
            together = await timed(snippet, it, many)
        try:
            tool = await asyncio.to_thread(TOOLS[server.key][1], server, many, snippet.WINDOW)
        except MissingError as error:
            print(f"{server.key}: {TOOLS[server.key][0]} is missing: {error}")
            tool = 0
        if number:
            for name, rate in zip(rates, (anew, alone, together, tool), strict=True):
                rates[name].append(rate)
    return rates


async def timed(snippet: ModuleType, it: Any, count: int, **window: int) -> float:
    tasks: Iterable[str] = [BODY.decode()] * count
    start = perf_counter()
    await snippet.submit(it, tasks, **window)
    return count / (perf_counter() - start)


def ratios(found: dict[str, Any], above: str, below: str) -> list[float]:
    return [a / b for a, b in zip(found[above], found[below], strict=True) if b]


def show(found: dict[str, Any]) -> None:
    """Print the two ratios: the middle, and from the worst to the best round."""
    for above, below, what in (
        ("one_at_a_time", "a_connection_each", "a connection for each"),
        ("in_a_window", "one_at_a_time", "one at a time"),
        ("in_a_window", "by_the_tool", found["tool"]),
    ):
        each = sorted(ratios(found, above, below))
        if each:
            middle = statistics.median(each)
            print(
                f"{found['server']:20} {above:14} : {what:26}"
                f" {middle:6.2f} ({each[0]:.2f} to {each[-1]:.2f})",
                flush=True,
            )
