"""Each right of an account is needed, and each that it lacks would be felt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import Server
from tests.snippets.running import SNIPPETS, run_changed


def lines_of(key: str, change: tuple[str, str], server: Server, folder: Path) -> list[str]:
    """Run the snippet with one rule changed."""
    snippet = SNIPPETS / "best_practices" / "least_privilege" / f"on_{key}.py"
    printed = run_changed(snippet, dict([change]), folder, server.environment_of_clients)
    return printed.splitlines()


@pytest.mark.broker("redis")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("%W~uploads +xadd", "%W~* +xadd"), "  add to invoices: done"),
        (("%W~uploads +xadd", "~uploads +xadd +xrange"), "  read uploads: done"),
        (("%W~uploads +xadd", "%W~uploads +xadd +xrange"), "  read uploads: refused"),
        (("+xdel", "+xdel +@all"), "  see the settings: done"),
    ],
    ids=["any key", "read and write", "write only", "all commands"],
)
def test_redis(change: tuple[str, str], line: str, server: Server, tmp_path: Path) -> None:
    assert line in lines_of("redis", change, server, tmp_path)


@pytest.mark.broker("redis")
def test_redis_pattern_of_keys_does_not_stop_flushall(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="delete all: done"):  # the group is gone as well
        lines_of("redis", ("%W~uploads +xadd", "%W~uploads +@write"), server, tmp_path)


@pytest.mark.broker("postgresql")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('"SELECT, UPDATE, DELETE"', '"SELECT, DELETE"'), "  take a task: refused"),
        (('"INSERT"', '"INSERT, SELECT"'), "  look at the tasks: done"),
    ],
    ids=["for update needs update", "select"],
)
def test_postgresql(change: tuple[str, str], line: str, server: Server, tmp_path: Path) -> None:
    lines = lines_of("postgresql", change, server, tmp_path)
    account = {"SELECT, DELETE": "video_worker", "INSERT, SELECT": "video_uploader"}
    start = lines.index(account[change[1].strip('"')])
    assert line in lines[start : start + 5]
