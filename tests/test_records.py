"""What a run records of claims: what ran, in the order of the tests, and all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.records import Record, claims_of

TOPIC = "patterns/queue"
TESTS = """
@claim("Each task is done.", promise=True, redis=holds("ack()", "pass"))
def test_done(stage: Stage) -> None: ...


@claim("No task is lost.", redis=holds("ack()", "pass"), **MORE)
def test_kept(stage: Stage) -> None: ...


def test_of_no_claim() -> None: ...
"""
SENTENCES = {"test_done": "Each task is done.", "test_kept": "No task is lost."}
HELPED = {"with_help": "a table"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A pattern with two claims; nothing is recorded yet."""
    (tmp_path / "tests" / "patterns").mkdir(parents=True)
    (tmp_path / "tests" / "patterns" / "test_queue.py").write_text(TESTS)
    return tmp_path


def proof(line: str | None = "ack()", **more: Any) -> dict[str, Any]:
    instead = line and "pass"
    return {"holds": True, "says": "", "line": line, "instead": instead, "with_help": "", **more}


def report(
    name: str,
    key: str,
    brokers: dict[str, dict[str, Any]] | None = None,
    *,
    without: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return what one run of a claim's test on one broker says of itself."""
    said = {
        "topic": TOPIC,
        "key": key,
        "without": without,
        "id": name,
        "claim": SENTENCES.get(name, ""),
        "promise": name == "test_done",
        "test": "tests/patterns/test_queue.py",
        "brokers": brokers or {"redis": proof(), "nats": proof()},
    }
    return {"claim": said | more, "broker": key}


def both(name: str, key: str, brokers: Any = None, **more: Any) -> list[dict[str, Any]]:
    """Return the two runs that prove a claim on a broker."""
    return [report(name, key, brokers, without=without, **more) for without in (False, True)]


def run(
    repository: Path,
    *reports: dict[str, Any],
    update: bool = True,
    failed: bool = False,
    interrupted: bool = False,
    newest: bool = True,
    servers: dict[str, str] | None = None,
) -> list[str]:
    record = Record(update=update, newest=newest, root=repository)
    for each in reports:
        record.note(each, "failed" if failed and each is reports[-1] else "passed")
    problems, _ = record.settle(servers or {}, interrupted=interrupted)
    return problems


def recorded(repository: Path) -> list[dict[str, Any]]:
    content = json.loads((repository / "docs" / "data" / "claims.json").read_text())
    entries: list[dict[str, Any]] = content[TOPIC]
    return entries


def versions(repository: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(
        (repository / "docs" / "data" / "versions.json").read_text()
    )
    return found


def shown(repository: Path) -> dict[str, list[str]]:
    """Return the brokers of each recorded claim, both in their order."""
    return {entry["id"]: list(entry["brokers"]) for entry in recorded(repository)}


def test_a_part_of_the_claims_changes_nothing_else(repository: Path) -> None:
    """The promise of a pattern was its first claim, and a claim that ran alone went to the end.

    So PostgreSQL had a pattern *with help*, and after a run of that claim alone had it *native*.
    """
    helped = {"redis": proof(), "postgresql": proof(**HELPED)}
    run(
        repository,
        *both("test_done", "redis", helped),
        *both("test_done", "postgresql", helped),
        *both("test_kept", "redis"),
        *both("test_kept", "nats"),
    )
    before = recorded(repository)
    assert [(entry["id"], entry["promise"]) for entry in before] == [
        ("test_done", True),
        ("test_kept", False),
    ]
    for alone in (both("test_done", "postgresql", helped), both("test_kept", "nats")):
        run(repository, *alone)
        assert recorded(repository) == before


def test_claims_are_in_the_order_of_the_tests_whatever_ran_first(repository: Path) -> None:
    run(repository, *both("test_kept", "redis"))
    run(repository, *both("test_done", "nats"), *both("test_done", "redis"))
    assert shown(repository) == {"test_done": ["nats", "redis"], "test_kept": ["redis"]}


def test_a_part_changes_the_proof_that_ran_alone(repository: Path) -> None:
    """The code of another broker's proof may have changed too: it did not run."""
    run(repository, *both("test_done", "redis"), *both("test_done", "nats"))
    changed = {"redis": proof("settle()"), "nats": proof("ack_sync()")}
    run(repository, *both("test_done", "redis", changed))
    [entry] = recorded(repository)
    assert entry["brokers"] == {"nats": proof(), "redis": proof("settle()")}


def test_a_proof_that_was_taken_out_leaves_the_record(repository: Path) -> None:
    run(repository, *both("test_done", "redis"), *both("test_done", "nats"))
    run(repository, *both("test_done", "redis", {"redis": proof()}))
    assert shown(repository) == {"test_done": ["redis"]}


@pytest.mark.parametrize("new", ["test_renamed", "of_no_claim"])
def test_a_claim_that_was_renamed_leaves_the_record(repository: Path, new: str) -> None:
    run(repository, *both("test_done", "redis"), *both("test_kept", "redis"))
    file = repository / "tests" / "patterns" / "test_queue.py"
    file.write_text(TESTS.replace("test_kept", new))
    run(repository, *both("test_done", "redis"))
    assert shown(repository) == {"test_done": ["redis"]}


def test_a_pattern_that_did_not_run_stays_as_it_is(repository: Path) -> None:
    """Its tests may be half written: whoever works on it records it."""
    run(repository, *both("test_done", "redis"), *both("test_kept", "redis"))
    before = recorded(repository)
    folder = repository / "tests" / "patterns"
    (folder / "test_wire.py").write_text(TESTS)
    (folder / "test_queue.py").write_text(TESTS.replace("test_kept", "test_renamed"))
    run(repository, *both("test_done", "redis", topic="patterns/wire"))
    assert recorded(repository) == before


def test_a_pattern_that_is_gone_leaves_the_record(repository: Path) -> None:
    run(repository, *both("test_done", "redis"))
    (repository / "tests" / "patterns" / "test_queue.py").rename(
        repository / "tests" / "patterns" / "test_wire.py"
    )
    run(repository, *both("test_done", "redis", topic="patterns/wire"))
    content = json.loads((repository / "docs" / "data" / "claims.json").read_text())
    assert list(content) == ["patterns/wire"]


def test_another_sentence_has_other_proofs(repository: Path) -> None:
    run(repository, *both("test_done", "redis"), *both("test_done", "nats"))
    run(repository, *both("test_done", "nats", claim="Each task is done once."))
    assert shown(repository) == {"test_done": ["nats"]}


@pytest.mark.parametrize("without", [False, True])
def test_half_a_proof_is_none(repository: Path, without: bool) -> None:
    """With `-k` one of its two runs may be left out; without a line there is but one."""
    run(repository, *both("test_done", "redis"))
    before = recorded(repository)
    run(repository, report("test_done", "nats", without=without))
    assert recorded(repository) == before
    alone = {"redis": proof(), "nats": proof(None)}
    run(repository, report("test_done", "nats", alone))
    assert shown(repository) == {"test_done": ["nats", "redis"]}


@pytest.mark.parametrize("how", ["failed", "interrupted"])
def test_a_run_that_failed_or_was_interrupted_records_nothing(repository: Path, how: str) -> None:
    run(repository, *both("test_done", "redis"))
    before = recorded(repository)
    changed = {"redis": proof("settle()"), "nats": proof()}
    reports = [*both("test_done", "redis", changed), *both("test_done", "nats", changed)]
    [problem] = run(repository, *reports, failed=how == "failed", interrupted=how == "interrupted")
    assert "as they were: " in problem
    assert how in problem
    assert recorded(repository) == before


def test_a_run_that_compares_writes_nothing_and_names_the_claim(repository: Path) -> None:
    run(repository, *both("test_done", "redis"), *both("test_kept", "redis"))
    before = recorded(repository)
    assert run(repository, *both("test_done", "redis"), update=False) == []
    changed = {"redis": proof("settle()"), "nats": proof()}
    [problem] = run(
        repository,
        *both("test_done", "redis", changed),
        *both("test_kept", "redis"),
        update=False,
    )
    assert "does not say what this run showed: test_done; run `make record`" in problem
    assert recorded(repository) == before


def test_the_claims_of_a_file_are_found_in_their_order(repository: Path) -> None:
    file = repository / "tests" / "patterns" / "test_queue.py"
    assert claims_of(file) == ["test_done", "test_kept"]
    assert claims_of(file.with_name("test_none.py")) == []


NEWEST = {"redis": "Redis 8.0.6 (folder, newest)"}
STABLE = {"redis": "Redis 8.0.2 (folder, stable)"}


def test_of_the_stable_servers_only_their_versions_are_recorded(repository: Path) -> None:
    """The newest are recorded later, and leave them there."""
    run(repository, *both("test_done", "redis"), servers=NEWEST)
    before = recorded(repository)
    changed = {"redis": proof("settle()")}
    run(repository, *both("test_done", "redis", changed), newest=False, servers=STABLE)
    assert recorded(repository) == before
    for _ in range(2):
        kept = versions(repository)["redis"]
        assert (kept["server"], kept["stable"]) == ("Redis 8.0.6", "Redis 8.0.2")
        run(repository, *both("test_done", "redis"), servers=NEWEST)


@pytest.mark.parametrize("update", [False, True])
def test_a_claim_that_fails_on_a_version_that_nobody_recorded_is_named(
    repository: Path, update: bool
) -> None:
    run(repository, *both("test_done", "redis"), servers=NEWEST)
    claim = both("test_done", "redis")
    moved = {"redis": "Redis 8.2.0 (folder, newest)"}
    first, *_ = run(repository, *claim, update=update, failed=True, servers=moved)
    assert first == (
        'test_done fails on Redis 8.2.0, and Redis 8.0.6 is what was recorded: "Each task is done."'
    )
    assert "fails on" not in str(run(repository, *claim, failed=True, servers=NEWEST))
