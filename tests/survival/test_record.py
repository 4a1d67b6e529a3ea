"""What each snippet survives is recorded in order, and what is gone is recorded no longer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.survival.record import LONGEST, Survival, rounded, shortened

FAULTS = {"cut": "the connections are cut", "away": "the server is away for 30 s"}
WORK, SEND = "patterns/queue/on_redis work", "patterns/queue/on_redis send"
OTHER = "patterns/queue/on_nats work"
CODE = "async def send(redis): ...\nasync def work(handle): ...\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two snippets, of two brokers; nothing is recorded yet."""
    folder = tmp_path / "snippets" / "patterns" / "queue"
    folder.mkdir(parents=True)
    for key in ("redis", "nats"):
        (folder / f"on_{key}.py").write_text(CODE)
    return tmp_path


def verdict(kind: str, *, text: str = "", seconds: int = 10) -> dict[str, Any]:
    good = kind in {"goes on", "ends"}
    return {
        "kind": "consumer",
        "verdict": kind,
        "text": text,
        "seconds": seconds,
        "good": good,
    }


def report(
    fault: str, *, concerned: list[str] | None = None, **verdicts: dict[str, Any]
) -> dict[str, Any]:
    """Return what one test says of itself: what `fault` did to the functions of a broker."""
    names = {"work": WORK, "send": SEND, "other": OTHER}
    given = {names[short]: found for short, found in verdicts.items()}
    key = "nats" if OTHER in given else "redis"
    return {
        "survival": {
            "broker": key,
            "server": f"{key} 1.0",
            "fault": fault,
            "faults": FAULTS,
            "concerned": list(given) if concerned is None else concerned,
            "verdicts": given,
        }
    }


def run(
    repository: Path, *reports: dict[str, Any], update: bool = True
) -> tuple[list[str], list[str]]:
    file = repository / "docs" / "survival.json"
    survival = Survival(update=update, file=file, snippets=repository / "snippets")
    for each in reports:
        survival.note(each)
    return survival.settle()


def recorded(repository: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((repository / "docs" / "survival.json").read_text())
    return content


def test_a_run_is_recorded_in_the_order_of_files_and_faults(repository: Path) -> None:
    """Whatever the order in which processes report: brokers, files, lines and faults have one."""
    run(
        repository,
        report("away", work=verdict("ends", text="TimeoutError: 20 s", seconds=40)),
        report("cut", work=verdict("goes on"), send=verdict("goes on")),
        report("cut", other=verdict("goes on")),
    )
    content = recorded(repository)
    assert content["servers"] == {"nats": "nats 1.0", "redis": "redis 1.0"}
    assert list(content["servers"]) == ["nats", "redis"]
    assert content["faults"] == FAULTS
    assert list(content["functions"]) == [OTHER, SEND, WORK]
    assert content["functions"][WORK] == {
        "kind": "consumer",
        "faults": {
            "cut": {"verdict": "goes on", "text": "", "seconds": 10},
            "away": {"verdict": "ends", "text": "TimeoutError: 20 s", "seconds": 40},
        },
    }
    assert list(content["functions"][WORK]["faults"]) == ["cut", "away"]


def test_a_partial_run_changes_only_what_it_ran(repository: Path) -> None:
    run(
        repository,
        report("cut", work=verdict("goes on"), send=verdict("goes on")),
        report("away", work=verdict("goes on"), other=verdict("goes on")),
        report("away", other=verdict("goes on")),
    )
    before = recorded(repository)
    both = [WORK, SEND]
    run(repository, report("cut", concerned=both, work=verdict("ends", text="OSError: cut")))
    after = recorded(repository)
    assert after["functions"][WORK]["faults"]["cut"]["verdict"] == "ends"
    after["functions"][WORK]["faults"]["cut"] = before["functions"][WORK]["faults"]["cut"]
    assert after == before


def test_a_bad_verdict_is_not_recorded_and_takes_the_good_one_away(repository: Path) -> None:
    run(repository, report("cut", work=verdict("goes on")), report("away", work=verdict("goes on")))
    run(repository, report("cut", work=verdict("silent")))
    assert list(recorded(repository)["functions"][WORK]["faults"]) == ["away"]


def test_what_is_gone_is_dropped(repository: Path) -> None:
    """A function, a snippet; and what a fault no longer concerns, where that fault was tried."""
    run(
        repository,
        report("cut", work=verdict("goes on"), send=verdict("goes on")),
        report("away", work=verdict("goes on")),
        report("cut", other=verdict("goes on")),
    )
    snippets = repository / "snippets" / "patterns" / "queue"
    (snippets / "on_nats.py").unlink()
    run(repository, report("cut", concerned=[SEND], send=verdict("goes on")))
    functions = recorded(repository)["functions"]
    assert list(functions) == [SEND, WORK]
    assert list(functions[WORK]["faults"]) == ["away"]
    run(repository, report("away", concerned=[SEND], send=verdict("goes on")))
    assert list(recorded(repository)["functions"]) == [SEND]


def test_a_run_that_compares_writes_nothing(repository: Path) -> None:
    """Another verdict is a notice; none at all is a problem, one line a function."""
    run(repository, report("cut", work=verdict("goes on"), send=verdict("goes on")))
    before = recorded(repository)
    problems, notices = run(
        repository,
        report("cut", work=verdict("ends", text="OSError: cut"), send=verdict("goes on")),
        report("away", work=verdict("goes on"), send=verdict("silent")),
        update=False,
    )
    assert len(problems) == len(notices) == 1
    assert f"does not say what {WORK} does in: away; run `make record`" in problems[0]
    assert notices == [f"{WORK}, cut: recorded 'goes on', this run saw 'ends'"]
    assert recorded(repository) == before


def test_a_run_without_survival_says_nothing(repository: Path) -> None:
    assert run(repository, {"broker": "redis"}) == ([], [])
    assert not (repository / "docs").exists()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("OSError: no  answer\nDETAIL: none", "OSError: no answer"),
        ("OSError: why:\n  no answer", "OSError: why: no answer"),
        (
            "ConnectionError: Error 111 connecting to 127.0.0.1:45123. Refused",
            "ConnectionError: Error 111 connecting to 127.0.0.1:…. Refused",
        ),
        (
            "NotFound: no queue 'transcode' in vhost 's12'",
            "NotFound: no queue 'transcode' in vhost '…'",
        ),
        ("E: topic s3.uploads", "E: topic uploads"),
        ("E: <Reader object at 0x7f12ab>", "E: <Reader object at 0x…>"),
        ("E: subscription to _INBOX.rx5gfp.*", "E: subscription to _INBOX.….*"),
        ("E: mailed must-fail-always-12-0.mp4", "E: mailed ….mp4"),
    ],
)
def test_a_text_is_the_same_in_each_run(text: str, short: str) -> None:
    assert shortened(text) == short


def test_a_text_fits_a_page_and_seconds_are_rounded_up() -> None:
    assert len(shortened("OSError: " + "x" * 500)) == LONGEST
    assert [rounded(each) for each in (0, 0.4, 10, 10.1, 59)] == [10, 10, 10, 20, 60]
