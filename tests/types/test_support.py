"""The table of support windows says what the tests ran on, and calls nothing current that ended.

Pages cite the documentation of what ran, and name an older version only as an older one.
"""

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


#: Where a footnote's address holds the version of what it cites.
ADDRESSES = {
    "RabbitMQ": re.compile(r"rabbitmq\.com/docs/(\d+\.\d+)/"),
    "Kafka": re.compile(r"kafka\.apache\.org/(\d)(\d+)/"),
    "NATS": re.compile(r"nats-server/blob/v(\d+\.\d+)"),
    "Mosquitto": re.compile(r"mosquitto/blob/v(\d+\.\d+)"),
    "PostgreSQL": re.compile(r"postgresql\.org/docs/(\d+)/"),
}
CHANGE = "it is about what changed with that version"
#: The footnotes that may cite an older version, by page and key, and why.
OLDER_SOURCES = {
    ("best-practices/migration.md", "kafka-40"): CHANGE,
    ("best-practices/migration.md", "kraft-migration"): CHANGE,
    ("best-practices/migration.md", "mirrored"): CHANGE,
    ("best-practices/migration.md", "mirrored-gone"): CHANGE,
    ("best-practices/migration.md", "quorum-40"): CHANGE,
    ("patterns/work-queue.md", "rabbit-quorum"): CHANGE,
    ("types/kafka.md", "elr"): CHANGE,
    ("types/kafka.md", "kip-890"): CHANGE,
    ("types/protocols.md", "kip-896"): CHANGE,
    ("types/rabbitmq.md", "khepri"): CHANGE,
}
#: What says that a line is about the past, or about one run.
ABOUT_THE_PAST = re.compile(
    r"\b(continues|and later|run:)|\b(until|up to|since|from|before)( \w+)? \d",
    re.IGNORECASE,
)
#: Pages about the past.
HISTORY = {"history.md", "references.md", "types/what-changed.md"}
#: Older versions that a page may name as what ran, and why it did not run again.
OLDER_RUNS = {
    ("types/postgresql.md", "PostgreSQL 17.11"): "a rate, which takes a quiet machine",
    ("types/kafka.md", "Kafka 4.0"): CHANGE,
}
#: Where a version of the stable generation stands alone, and why.
STABLE_ALONE = {
    ("best-practices/service.md", "4.3.0"): "it is the version of a tool",
    ("patterns/message-expiration.md", "2.10.27"): CHANGE,
    ("patterns/topic-router.md", "2.10.27"): CHANGE,
    ("types/rabbitmq.md", "4.0.5"): CHANGE,
}


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


def newest() -> dict[str, tuple[int, ...]]:
    """Return the version of each server that the pages show."""
    ran = json.loads(VERSIONS.read_text())
    return {name: numbers(ran[key]["server"].split()[-1]) for name, key in NAMES.items()}


def is_older(name: str, version: tuple[int, ...]) -> bool:
    return version < newest()[name][: len(version)]


def texts() -> list[tuple[str, str]]:
    pages = sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.py")])
    return [(str(page.relative_to(DOCS)), page.read_text()) for page in pages]


def test_footnotes_cite_what_ran() -> None:
    """Where one is older, read the newest, and correct the sentence or say here why it stays."""
    note = re.compile(r"^(?:# )?\[\^([^\]]+)\]: (.*)$", re.MULTILINE)
    named = re.compile(rf"^({'|'.join(NAMES)}) (\d+(?:\.\d+)*), ")
    older = set()
    for page, text in texts():
        for key, says in note.findall(text):
            cited = [(name, numbers(version)) for name, version in named.findall(says)]
            for name, address in ADDRESSES.items():
                found = address.findall(says)
                cited += [
                    (name, numbers(".".join(one) if name == "Kafka" else one)) for one in found
                ]
            if any(is_older(name, version) for name, version in cited):
                older.add((page, key))
    assert older == set(OLDER_SOURCES)


def test_what_ran_on_the_stable_servers_alone_is_about_them() -> None:
    """A version that stands without its server's name, as in *on 4.0.5*, is found, too."""
    alone = set()
    for key, ran in json.loads(VERSIONS.read_text()).items():
        if key not in NAMES.values():
            continue
        stable, todays = (ran[one].split()[-1] for one in ("stable", "server"))
        if stable == todays:
            continue
        number = re.compile(rf"(?<![\d.]){re.escape(stable)}(?![\d.]*\d)")
        for page, text in texts():
            if page in HISTORY or page.startswith("errors/"):
                continue
            alone |= {
                (page, stable)
                for line in text.splitlines()
                if number.search(line) and todays not in line and not ABOUT_THE_PAST.search(line)
            }
    assert alone == set(STABLE_ALONE)


def test_no_page_names_an_older_version_as_if_it_were_todays() -> None:
    version = re.compile(rf"\b({'|'.join(NAMES)}) (\d{{1,2}}(?:\.\d+)*)(?!\d)")
    older = set()
    for page, text in texts():
        if page in HISTORY or page.startswith("errors/"):
            continue
        for line in text.splitlines():
            if re.match(r"(# )?\[\^", line) or ABOUT_THE_PAST.search(line):
                continue
            for name, number in version.findall(line):
                todays = ".".join(map(str, newest()[name]))
                if is_older(name, numbers(number)) and todays not in line:
                    older.add((page, f"{name} {number}"))
    assert older == set(OLDER_RUNS)
