"""Each right of an account is needed, and each that it lacks would be felt."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.brokers import Server
from tests.brokers.redis import Redis
from tests.patterns.home import load
from tests.patterns.stage import SnippetError, Stage
from tests.snippets.running import SNIPPETS, download, run_changed


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
def test_the_work_queue_runs_with_these_rights_on_redis(server: Server, tmp_path: Path) -> None:
    rules: dict[str, str] = load(SNIPPETS / "best_practices/least_privilege/on_redis.py").RULES
    with server.another(Redis) as own, redis.Redis.from_url(own.address) as admin:
        folders = {account: tmp_path / account for account in ("default", *rules)}
        for folder in folders.values():
            folder.mkdir()
        with Stage.of("patterns/work_queue", "redis", own, folders["default"]) as stage:
            stage.call("declare")
        for account, rights in rules.items():
            allowed = rights.replace("~uploads", "~transcode").split()
            admin.execute_command("ACL", "SETUSER", account, *allowed, ">p@ss/w:rd")

        def as_account(account: str) -> Stage:
            url = own.address.replace("//", f"//{account}:p%40ss%2Fw%3Ard@")
            copy = download(SNIPPETS / "patterns/work_queue/on_redis.py", folders[account])
            copy.write_text(copy.read_text().replace("LEASE = 2_000", "LEASE = 200"))
            return Stage("redis", copy, own, addresses={"REDIS_URL": url})

        with as_account("uploader") as uploader, as_account("worker") as worker:
            uploader.call("submit", tasks=["cat.mp4", "dog.mp4"])
            # It renews the lease of the first one, claims it from the one that was killed,
            # counts its deliveries and settles it.
            killed = worker.spawn("work", worker="A", mode="hold", only="cat")
            assert worker.happens(lambda: killed.taken == ["cat.mp4"], killed)
            assert worker.stays(lambda: not killed.ended, 0.5)
            killed.kill()
            following = worker.spawn("work", worker="B", limit=2)
            assert worker.happens(lambda: following.returned, following)
            assert sorted(following.done) == ["cat.mp4", "dog.mp4"]
            with pytest.raises(SnippetError, match="NoPermission"):
                worker.call("submit", tasks=["owl.mp4"])


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
