"""The table of support windows says what the tests ran on, and calls nothing current that ended."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

from tests.brokers import SERVERS
from tests.records import VERSIONS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "types" / "what-changed.md"
NAMES = {
    "RabbitMQ": "rabbitmq",
    "Kafka": "kafka",
    "NATS": "nats",
    "Redis": "redis",
    "Mosquitto": "mqtt",
    "PostgreSQL": "postgresql",
}
ROW = re.compile(
    r"^\| (?P<server>\w+) \| (?P<series>[\d.]+) \| (?P<released>\d{4}-\d\d-\d\d)\S* \|"
    r" (?P<until>[^|]+?) \| (?P<marks>[^|]*?) ?\|$",
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text())]


def marked(word: str) -> dict[str, str]:
    """Return the series of each server that has this mark."""
    return {row["server"]: row["series"] for row in ROWS if word in row["marks"]}


def test_both_generations_are_in_the_table() -> None:
    assert set(NAMES.values()) == set(SERVERS)
    ran = json.loads(VERSIONS.read_text())
    for mark, recorded in {"newest here": "server", "stable here": "stable"}.items():
        series = marked(mark)
        assert set(series) == set(NAMES)
        for name, key in NAMES.items():
            version = ran[key][recorded].split()[-1]
            assert f"{version}.".startswith(f"{series[name]}."), f"{name}, {mark}"


def test_no_series_is_called_current_after_its_end() -> None:
    current = [row for row in ROWS if "current" in row["marks"]]
    assert {row["server"] for row in current} >= set(NAMES)
    for row in current:
        end = re.match(r"\d{4}-\d\d-\d\d", row["until"])
        assert not end or date.fromisoformat(end[0]) > datetime.now(UTC).date(), (
            f"{row['server']} {row['series']} is called current in {PAGE.name}, and its support "
            f"ended on {row['until']}: see what is current now, and what pages say of it"
        )


def test_no_page_names_a_series_that_the_table_does_not_know() -> None:
    """What a page says of a newer one came after the table: then that has to be read again."""
    newest: dict[str, tuple[int, ...]] = {}
    for row in ROWS:
        newest[row["server"]] = max(newest.get(row["server"], ()), numbers(row["series"]))
    version = re.compile(rf"\b({'|'.join(newest)}) (\d{{1,2}}(?:\.\d+)*)(?!\d)")
    assert not [
        f"{page.relative_to(DOCS)}: {found[0]}, and {PAGE.name} knows none after {newest[found[1]]}"
        for page in sorted(DOCS.rglob("*.md"))
        for found in version.finditer(page.read_text())
        if numbers(found[2])[: len(newest[found[1]])] > newest[found[1]]
    ]


def numbers(series: str) -> tuple[int, ...]:
    return tuple(map(int, series.split(".")))
