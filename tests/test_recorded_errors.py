"""What a run writes of the texts of errors, and what it leaves as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.errors.recorded import Recorded, Text

FULL = Text("queue is full", "aio-pika", {"client": "aio-pika 10", "server": "RabbitMQ 4.3"})
OLDER = Text("queue is full", "aio-pika", {"client": "aio-pika 10", "server": "RabbitMQ 4.0"})
OTHER = Text("no room", "aio-pika", {"client": "aio-pika 10", "server": "RabbitMQ 4.0"})


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A file of tests with two errors."""
    file = tmp_path / "test_rabbitmq.py"
    file.write_text("def test_no_queue() -> None: ...\n\n\ndef test_full() -> None: ...\n")
    return file


def content(tests: Path) -> dict[str, Any]:
    file = tests.parent / "docs/data/errors/rabbitmq.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_one_text_of_both_generations_stands_once(tests: Path) -> None:
    newest, stable = (Recorded(tests, each, tests.parent) for each in ("newest", "stable"))
    newest.write("full", [FULL])
    stable.write("full", [OLDER])
    assert [said["seen"] for said in content(tests)["full"]] == [
        {"newest": FULL.versions, "stable": OLDER.versions}
    ]
    assert (newest.texts("full"), stable.texts("full")) == ([FULL], [OLDER])


def test_another_text_of_a_generation_stands_beside_the_first(tests: Path) -> None:
    newest, stable = (Recorded(tests, each, tests.parent) for each in ("newest", "stable"))
    newest.write("full", [FULL])
    stable.write("full", [OLDER])
    stable.write("full", [OTHER])
    assert [said["text"] for said in content(tests)["full"]] == [FULL.text, OTHER.text]
    stable.write("full", [])
    assert [said["text"] for said in content(tests)["full"]] == [FULL.text]


def test_errors_stand_in_the_order_of_their_tests_and_leave_with_them(tests: Path) -> None:
    recorded = Recorded(tests, "newest", tests.parent)
    recorded.write("full", [FULL])
    recorded.write("no-queue", [OTHER])
    assert list(content(tests)) == ["no-queue", "full"]
    tests.write_text("def test_no_queue() -> None: ...\n")
    recorded.write("no-queue", [OTHER])
    assert list(content(tests)) == ["no-queue"]
