"""Change data capture: each change is read as it was committed, whatever text is in it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.brokers import Server
from tests.patterns.home import load
from tests.snippets.running import SNIPPETS

SNIPPET = SNIPPETS / "use_cases" / "change_data_capture" / "on_postgresql.py"
TITLE = "a new-tuple: title[text]:'b'"

#: What is committed, and the events that it makes.
CHANGES: dict[str, tuple[str, list[tuple[str, dict[str, str | None]]]]] = {
    "a key that looks like the line itself": (
        "UPDATE video SET title = 'cat' WHERE state = 'odd'",
        [("delete", {"title": TITLE}), ("update", {"title": "cat", "state": "odd"})],
    ),
    "an array, and a name in quotes": (
        """ALTER TABLE video ADD tags text[], ADD "since when" timestamp;
        INSERT INTO video VALUES ('dog', 'new', ARRAY['a', 'b:c'], '2026-11-30 08:00')""",
        [
            (
                "insert",
                {
                    "title": "dog",
                    "state": "new",
                    "tags": "{a,b:c}",
                    "since when": "2026-11-30 08:00:00",
                },
            )
        ],
    ),
    "nothing, an empty text, and the word null": (
        "INSERT INTO video VALUES ('', NULL), ('null', E'two\\nlines')",
        [
            ("insert", {"title": "", "state": None}),
            ("insert", {"title": "null", "state": "two\nlines"}),
        ],
    ),
    "a table of this name in another schema": (
        """CREATE SCHEMA other; CREATE TABLE other.video (LIKE video);
        INSERT INTO other.video VALUES ('owl', 'public.video: INSERT: ');
        TRUNCATE other.video""",
        [],
    ),
    "a truncation of several tables": (
        """CREATE SCHEMA other; CREATE TABLE other.clip (name text);
        TRUNCATE other.clip, video""",
        [("truncate", {})],
    ),
}


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_read_as_it_was_committed(case: str, server: Server) -> None:
    snippet: Any = load(SNIPPET)
    change, events = CHANGES[case]
    with psycopg.connect(server.address, autocommit=True) as db:
        db.execute(snippet.TABLE.encode())
        db.execute("INSERT INTO video VALUES (%s, 'odd')", [TITLE])
        db.execute("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
        try:
            for statement in change.split(";"):
                db.execute(statement.encode())
            lines = db.execute(snippet.PEEK.encode(), ["cdc", None]).fetchall()
        finally:
            db.execute("SELECT pg_drop_replication_slot('cdc')")
            db.execute("DROP SCHEMA IF EXISTS other CASCADE")
    assert [event for _, line in lines for event in snippet.translate(line)] == events
