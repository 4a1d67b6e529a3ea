"""What each run of the chapter "Why use one" shows, and the line without which it would not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.snippets.running import MINIBROKER, SNIPPETS, run_with_python

Printed = list[str]
Proof = Callable[[Printed], None]


def printed(file: str, folder: Path, line: str = "", instead: str = "") -> Printed:
    """Run the snippet, with one of its lines changed if one is named."""
    text = (SNIPPETS / "why" / file).read_text()
    if line:
        assert text.count(line) == 1, f"{file} has {line!r} {text.count(line)} times"
        text = text.replace(line, instead)
    folder.joinpath(MINIBROKER.name).write_text(MINIBROKER.read_text())
    changed = folder / "changed" / file
    changed.parent.mkdir()
    changed.write_text(text)
    return run_with_python(changed, folder, {}).splitlines()


def after(lines: Printed, start: str) -> Printed:
    """Return what was printed after the one line that begins so."""
    (place,) = [number for number, line in enumerate(lines) if line.startswith(start)]
    return lines[place + 1 :]


def neither_waits_for_the_other(lines: Printed) -> None:
    accepted = lines.index("upload: cat.mp4 accepted")
    assert lines[accepted + 1] == "  page of cat.mp4: nothing yet"
    assert accepted < lines.index("transcoder 1: done with cat.mp4")


def what_came_before_the_transcoder_is_done(lines: Printed) -> None:
    rest = after(lines, "upload is done")
    assert "  page of cat.mp4: ready, by transcoder 1" in rest


def another_program_takes_the_place(lines: Printed) -> None:
    assert "  page of owl.mp4: ready, by transcoder 2" in after(lines, "space:")


def a_failure_is_found_in_the_dead_letters(lines: Printed) -> None:
    assert "upload: dog.txt accepted" in lines
    assert after(lines, "what became") == [
        "  page of dog.txt: nothing yet",
        "  dead-letters: dog.txt, rejected",
    ]


def waiting(lines: Printed) -> list[int]:
    """Return how long the bars in the last column are."""
    return [len(line[26:]) for line in lines[2:12]]


def a_burst_waits_and_is_done(lines: Printed) -> None:
    assert max(waiting(lines)) == 10
    assert waiting(lines)[-1] == 0
    assert "queued: 30 done, longest wait 3 ticks" in lines


def called_the_burst_is_refused(lines: Printed) -> None:
    assert "called: 20 done, 10 refused" in lines


def steady_overload_only_grows(lines: Printed) -> None:
    grown = [int(line.split()[2]) for line in after(lines, "5 uploads")]
    assert grown == [10, 100, 1000]


def each_subscriber_has_a_copy(lines: Printed) -> None:
    assert lines[0].startswith("cat.mp4: 2 copies")
    assert after(lines, "billing subscribes")[0].startswith("dog.mp4: 3 copies")


def a_late_subscriber_misses_what_was_before(lines: Printed) -> None:
    assert "notifier: cat.mp4 dog.mp4" in lines
    assert "billing: dog.mp4" in lines


def a_log_is_read_from_its_beginning(lines: Printed) -> None:
    assert lines[-1] == "billing, from the log: cat.mp4 dog.mp4"


def called_an_outage_spreads(lines: Printed) -> None:
    assert lines[0] == "called: 3 uploads fail, 3 mails for 3 videos"


def queued_an_outage_waits(lines: Printed) -> None:
    assert lines[1] == "queued: no upload fails, 6 mails for 6 videos"
    assert lines[2].endswith(": 0 1 2 3 0 0")


def a_crash_repeats_a_mail(lines: Printed) -> None:
    assert after(lines, "a notifier dies")[0] == "  restarted: 7 mails for 6 videos"


def an_idempotent_receiver_repeats_nothing(lines: Printed) -> None:
    assert after(lines, "an idempotent notifier dies") == ["  restarted: 6 mails for 6 videos"]


def three_formats_become_one(lines: Printed) -> None:
    assert "catalogue: cat.mp4 dog.mp4 owl.mp4" in lines
    assert "billing: 42 90 7" in lines


def a_renamed_field_breaks_whoever_reads_it(lines: Printed) -> None:
    assert after(lines, "one day") == [
        '  {"name": "fox.mp4", "duration": 12} for catalogue billing',
        "catalogue: fox.mp4",
        'billing: no \'seconds\' in {"name": "fox.mp4", "duration": 12}',
        "billing: nothing new",
        "dead-letters: 1",
    ]


def rows(lines: Printed) -> dict[tuple[int, int], tuple[int, Printed]]:
    """Return ticks and order, by the numbers of workers at the two queues."""
    cells = [line.split() for line in lines[2:]]
    return {(int(a), int(b)): (int(ticks), order) for a, b, ticks, *order in cells}


def more_workers_are_quicker_until_another_stage_is_full(lines: Printed) -> None:
    ticks = {workers: row[0] for workers, row in rows(lines).items()}
    assert ticks == {(1, 1): 25, (2, 1): 14, (4, 1): 10, (8, 1): 10, (8, 2): 7}


def only_one_worker_keeps_the_order(lines: Printed) -> None:
    uploaded = ["cat", "dog", "owl", "fox", "bee", "elk", "ant", "emu"]
    in_order = [workers for workers, (_, order) in rows(lines).items() if order == uploaded]
    assert in_order == [(1, 1)]
    assert all(sorted(order) == sorted(uploaded) for _, order in rows(lines).values())


def task_and_data_commit_together(lines: Printed) -> None:
    assert "upload of cat.mp4: refused, it is there already" in lines
    assert "2 videos, 2 tasks wait" in lines


def a_task_is_gone_once_it_is_done(lines: Printed) -> None:
    assert lines[-1] == "0 tasks wait"


#: What is shown, by which snippet, the line that carries it, and what to put in its place.
SHOWN: list[tuple[Proof, str, str, str]] = [
    (
        neither_waits_for_the_other,
        "decoupling.py",
        "    BROKER.publish(QUEUE, video)\n",
        "    BROKER.publish(QUEUE, video)\n    await transcoder('transcoder 1')\n",
    ),
    (
        what_came_before_the_transcoder_is_done,
        "decoupling.py",
        "BROKER.declare(QUEUE)",
        "BROKER.declare(QUEUE, ttl=1e-9)",
    ),
    (
        another_program_takes_the_place,
        "decoupling.py",
        "BROKER.consume(QUEUE, name)",
        "BROKER.consume(BROKER.declare(name) or name if '2' in name else QUEUE, name)",
    ),
    (
        a_failure_is_found_in_the_dead_letters,
        "decoupling.py",
        "task.nack(requeue=False)",
        "task.ack()",
    ),
    (
        a_burst_waits_and_is_done,
        "load_levelling.py",
        "for _ in range(uploads):",
        "for _ in range(uploads - no_room):",
    ),
    (
        called_the_burst_is_refused,
        "load_levelling.py",
        "PACE = 4",
        "PACE = 9",
    ),
    (
        steady_overload_only_grows,
        "load_levelling.py",
        "        for _ in range(PACE + 1):",
        "        for _ in range(PACE):",
    ),
    (
        each_subscriber_has_a_copy,
        "fan_out.py",
        "    BROKER.bind(subscriber, EVENT)\n",
        "    if subscriber != 'billing': BROKER.bind(subscriber, EVENT)\n",
    ),
    (
        a_late_subscriber_misses_what_was_before,
        "fan_out.py",
        '    subscribe("notifier")\n',
        '    subscribe("notifier")\n    subscribe("billing")\n',
    ),
    (a_log_is_read_from_its_beginning, "fan_out.py", "offset=0", "offset=1"),
    (
        called_an_outage_spreads,
        "resilience.py",
        "        raise ConnectionRefusedError\n",
        "        return\n",
    ),
    (
        queued_an_outage_waits,
        "resilience.py",
        "        broker.publish(QUEUE, video)\n        if",
        "        if video not in OUTAGE: broker.publish(QUEUE, video)\n        if",
    ),
    (
        a_crash_repeats_a_mail,
        "resilience.py",
        "                self.notify(event.message.body)\n",
        "                self.notify(event.message.body)\n                event.ack()\n"
        "                if event.message.body != dies_after: continue\n",
    ),
    (
        an_idempotent_receiver_repeats_nothing,
        "resilience.py",
        "if not (self.idempotent and video in self.mails):",
        "if True:",
    ),
    (
        three_formats_become_one,
        "integration.py",
        "publish(translate(text))",
        "publish({'name': text, 'seconds': text})",
    ),
    (
        a_renamed_field_breaks_whoever_reads_it,
        "integration.py",
        '"duration": 12',
        '"seconds": 12, "duration": 12',
    ),
    (
        more_workers_are_quicker_until_another_stage_is_full,
        "scaling.py",
        "for number in range(workers):",
        "for number in range(1):",
    ),
    (
        only_one_worker_keeps_the_order,
        "scaling.py",
        "(TICKS[video] if transcodes else 1)",
        "1",
    ),
    (
        task_and_data_commit_together,
        "table_as_queue.py",
        "        with database:  # one transaction: both rows, or none\n",
        "        if True:\n",
    ),
    (
        a_task_is_gone_once_it_is_done,
        "table_as_queue.py",
        "while task := database.execute(oldest).fetchone():",
        "for task in database.execute(oldest).fetchall():",
    ),
]
each = pytest.mark.parametrize(
    ("proof", "file", "line", "instead"), SHOWN, ids=[proof.__name__ for proof, *_ in SHOWN]
)


@each
def test_the_run_shows_it(proof: Proof, file: str, line: str, instead: str, tmp_path: Path) -> None:
    assert line != instead
    proof(printed(file, tmp_path))


@each
def test_without_its_line_it_does_not(
    proof: Proof, file: str, line: str, instead: str, tmp_path: Path
) -> None:
    changed = printed(file, tmp_path, line, instead)  # it still runs, to its end
    with pytest.raises(AssertionError):
        proof(changed)


def test_every_snippet_of_the_chapter_is_proven() -> None:
    assert {file for _, file, *_ in SHOWN} == {
        path.name for path in (SNIPPETS / "why").glob("*.py")
    }
