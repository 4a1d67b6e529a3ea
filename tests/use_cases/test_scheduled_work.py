"""When an appointment that comes again comes next: months, and days on which the clocks change."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.brokers import Server
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS, download

SNIPPET = SNIPPETS / "use_cases" / "scheduled_work" / "on_postgresql.py"
VIENNA = "Europe/Vienna"


def constant(name: str) -> str:
    found = re.search(rf'^{name} = """(.*?)"""', SNIPPET.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


#: The first time, the interval, the zone, and the moments at which a scheduler looks, each with
#: the time in the zone that it must find.
CASES = {
    "each month": (
        "2026-01-01 08:00+00",
        "1 month",
        "UTC",
        [
            ("2026-01-01 08:00:01+00", "2026-02-01 08:00"),
            ("2026-02-01 08:00:01+00", "2026-03-01 08:00"),
        ],
    ),
    "the last of each month": (
        "2026-01-31 08:00+00",
        "1 month",
        "UTC",
        [
            ("2026-01-31 08:00:01+00", "2026-02-28 08:00"),
            ("2026-02-28 08:00:01+00", "2026-03-31 08:00"),
        ],
    ),
    "three months were missed": (
        "2026-01-01 08:00+00",
        "1 month",
        "UTC",
        [("2026-04-15 00:00+00", "2026-05-01 08:00")],
    ),
    "a day has 25 hours": (
        "2026-10-24 08:00+02",
        "1 day",
        VIENNA,
        [("2026-10-24 08:00:01+02", "2026-10-25 08:00")],
    ),
    "a day has 23 hours": (
        "2026-03-28 08:00+01",
        "1 day",
        VIENNA,
        [("2026-03-28 08:00:01+01", "2026-03-29 08:00")],
    ),
    "each hour of a day that has 25": (
        "2026-10-25 00:00+02",
        "1 hour",
        VIENNA,
        [
            ("2026-10-25 01:30+02", "2026-10-25 02:00"),
            ("2026-10-25 02:30+02", "2026-10-25 02:00"),  # once more
            ("2026-10-25 02:30+01", "2026-10-25 03:00"),
        ],
    ),
    "a time that the clock skips": (
        "2026-03-28 02:30+01",
        "1 day",
        VIENNA,
        [
            ("2026-03-28 02:30:01+01", "2026-03-29 03:30"),
            ("2026-03-29 03:30:01+02", "2026-03-30 02:30"),
        ],
    ),
    "ten years of hours were missed": (
        "2016-01-01 00:00+00",
        "1 hour",
        "UTC",
        [("2026-01-01 00:30+00", "2026-01-01 01:00")],
    ),
    "leap days": (
        "2024-02-29 08:00+00",
        "1 year",
        "UTC",
        [
            ("2024-02-29 08:00:01+00", "2025-02-28 08:00"),
            ("2025-02-28 08:00:01+00", "2026-02-28 08:00"),
            ("2026-02-28 08:00:01+00", "2027-02-28 08:00"),
            ("2027-02-28 08:00:01+00", "2028-02-29 08:00"),
        ],
    ),
}


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize("case", CASES)
def test_the_next_time(case: str, server: Server) -> None:
    first, every, zone, looks = CASES[case]
    with psycopg.connect(server.address, autocommit=True) as db:
        for statement in constant("TABLES").split(";"):
            db.execute(statement.encode())
        put = {"name": "premiere", "at": first, "every": every, "zone": zone}
        db.execute(constant("PUT").replace("%(at)s", "%(at)s::timestamptz").encode(), put)
        for now, wanted in looks:
            move_on = constant("MOVE_ON").replace("now()", f"timestamptz '{now}'")
            db.execute(move_on.encode(), ["premiere"])
            found = db.execute("SELECT (run_at AT TIME ZONE zone)::text FROM schedule").fetchone()
            assert found == (f"{wanted}:00",)


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize("every", ["0 seconds", "-1 hour"])
def test_an_interval_that_leads_nowhere_is_refused_when_it_is_put(
    every: str, server: Server
) -> None:
    """Its next time would be found by no scheduler: each would end, before all that is due."""
    with psycopg.connect(server.address, autocommit=True) as db:
        for statement in constant("TABLES").split(";"):
            db.execute(statement.encode())
        put = {"name": "premiere", "at": "2026-01-01 08:00+00", "every": every, "zone": "UTC"}
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute(constant("PUT").replace("%(at)s", "%(at)s::timestamptz").encode(), put)


def test_a_time_without_a_zone_is_refused_when_it_is_put(tmp_path: Path) -> None:
    """Else the first run is by the server's zone, and those that follow by another clock."""
    snippet: Any = load(download(SNIPPET, tmp_path))
    at = datetime.fromisoformat("2026-01-01 08:00")
    with pytest.raises(ValueError, match="08:00:00 has no time zone"):
        asyncio.run(snippet.put(None, "premiere", at, "1 day", VIENNA))
