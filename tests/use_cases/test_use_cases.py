"""What the code of each use case shows, and the change without which it would not show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.snippets.running import SNIPPETS, run_changed

Printed = list[str]
Proof = Callable[[Printed], None]


def a_late_worker_is_refused(lines: Printed) -> None:
    assert "worker A: too late" in lines
    assert "user: done, 100 %, attempt 2, cat.mp4.2.webm" in lines


def a_worker_hears_of_a_cancelled_job(lines: Printed) -> None:
    assert "worker B: stops, the user has cancelled" in lines


def a_follower_gets_a_notice_once(lines: Printed) -> None:
    assert lines.count("phone: ana: cat.mp4 starts now") == 1
    assert lines.count("mail: ben: cat.mp4 starts now") == 1


def who_has_muted_gets_nothing(lines: Printed) -> None:
    assert not [line for line in lines if "kim" in line]


def a_failed_saga_leaves_nothing_in_force(lines: Printed) -> None:
    for booking in ("cat 1", "fox 2"):
        assert f"{booking} announced ['reserve', 'charge', 'announce']" in lines
    for booking in ("fox 1", "dog 1", "owl 1"):
        assert f"{booking} cancelled []" in lines


def a_step_that_comes_again_is_not_done_again(lines: Printed) -> None:
    assert [line for line in lines if "dies after" in line]
    assert lines[-1].endswith("each done 1 time")


def a_newcomer_sees_who_is_gone(lines: Printed) -> None:
    assert "second dashboard: cameras/gate/alive offline (last value)" in lines


def a_lost_line_is_counted(lines: Printed) -> None:
    assert "web-1/start-7 DEBUG: 751 came, 250 lost, budget exceeded" in lines


def errors_have_room_when_the_rest_has_none(lines: Printed) -> None:
    assert "web-1/start-7 ERROR: 50 came, 0 lost, budget kept" in lines


#: The proof, the broker, the snippet's folder, and the texts to change so that it must fail.
PROOFS: list[tuple[Proof, str, str, dict[str, str]]] = [
    (
        a_late_worker_is_refused,
        "postgresql",
        "background_jobs",
        {"WHERE id = %s AND attempt = %s AND": "WHERE id = %s AND %s > 0 AND"},
    ),
    (
        a_worker_hears_of_a_cancelled_job,
        "postgresql",
        "background_jobs",
        {"attempt = %s AND status = 'running'\"": 'attempt = %s"'},
    ),
    (
        a_follower_gets_a_notice_once,
        "rabbitmq",
        "notifications",
        {"message_id=notice,": "message_id=f'{notice} {__import__(\"time\").monotonic()}',"},
    ),
    (
        who_has_muted_gets_nothing,
        "rabbitmq",
        "notifications",
        {"if not (way := PREFERENCES[user]):": "if not (way := PREFERENCES[user] or 'mail'):"},
    ),
    (
        a_failed_saga_leaves_nothing_in_force,
        "rabbitmq",
        "event_driven_services",
        {'"refunded": ("release",': '"refunded": ("reserve",'},
    ),
    (
        a_step_that_comes_again_is_not_done_again,
        "rabbitmq",
        "event_driven_services",
        {
            "if row := db.execute(asked, (booking, action)).fetchone():": "if row := []:",
            "INSERT INTO step": "INSERT OR IGNORE INTO step",
        },
    ),
    (
        a_newcomer_sees_who_is_gone,
        "mqtt",
        "iot_telemetry",
        {'"offline", qos=1, retain=True': '"offline", qos=1, retain=False'},
    ),
    (
        a_lost_line_is_counted,
        "kafka",
        "log_pipelines",
        {"self.numbers[level] += 1\n": "self.numbers[level] += self.bytes < ROOM[level]\n"},
    ),
    (
        errors_have_room_when_the_rest_has_none,
        "kafka",
        "log_pipelines",
        {'"DEBUG": 32_000}': '"DEBUG": 40_000}'},
    ),
]


@pytest.mark.parametrize("changed", [False, True], ids=["as it is", "changed"])
@pytest.mark.parametrize(
    ("proof", "key", "folder", "changes"),
    [pytest.param(*row, id=row[0].__name__, marks=pytest.mark.broker(row[1])) for row in PROOFS],
)
def test_the_code_shows_it(
    proof: Proof,
    key: str,
    folder: str,
    changes: dict[str, str],
    *,
    changed: bool,
    server: Server,
    tmp_path: Path,
) -> None:
    snippet = SNIPPETS / "use_cases" / folder / f"on_{key}.py"
    wanted = changes if changed else {}
    printed = run_changed(snippet, wanted, tmp_path, server.environment_of_clients).splitlines()
    if changed:
        with pytest.raises(AssertionError):
            proof(printed)
    else:
        proof(printed)
