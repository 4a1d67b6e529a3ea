"""The pictures beside the snippets are what a run of them does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from minibroker import Event, Message

from handbook.diagrams import described, render
from handbook.recorder import sequence_diagram
from tests.snippets.running import ROOT, SNIPPETS, keep, name

#: What a page shows as a picture, the file that the picture is made of.
RECORDED = sorted(
    {
        (SNIPPETS / found).with_suffix(".py")
        for page in (ROOT / "docs").rglob("*.md")
        for found in re.findall(r"^ *::: recording (\S+)", page.read_text(), re.MULTILINE)
    }
)


def record(snippet: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "handbook.recorder", str(snippet), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("snippet", RECORDED, ids=name)
def test_picture_is_what_the_run_does(
    snippet: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    done = record(snippet, tmp_path / "out.mmd")
    assert not done.returncode, done.stderr
    picture, kept = (tmp_path / "out.mmd").read_text(), snippet.with_suffix(".mmd")
    can_be_drawn(picture)
    if pytestconfig.getoption("--update"):  # test_copied.py writes the output, at the same time
        keep(kept, picture)
        return
    for file, shown in ((snippet.with_suffix(".out"), done.stdout), (kept, picture)):
        assert file.exists(), f"{name(file)} is missing: run `make record`"
        assert shown == file.read_text()


def can_be_drawn(source: str) -> None:
    title, description = described(source)
    assert title
    assert description
    _, width = render(source, title, description)
    assert width < 1000


def test_snippet_without_a_broker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text('"""Quiet."""\nprint("hello")\n')
    done = record(tmp_path / "quiet.py", tmp_path / "out.mmd")
    assert done.returncode
    assert "nothing happened on a broker" in done.stderr
    assert not (tmp_path / "out.mmd").exists()


CAT = Message(1, "transcode", "cat.mp4", {})
DEAD = CAT._replace(headers={"death_reason": "rejected", "death_queue": "transcode"})


def lines(*happened: Event | str) -> list[str]:
    """Return the steps of the picture of these events."""
    drawn = sequence_diagram(happened, "Title").splitlines()
    return [line.strip() for line in drawn if ": " in line and "acc" not in line]


def test_steps_are_the_events_in_their_order() -> None:
    assert lines(
        Event("published", "transcode", "", CAT),
        Event("routed", "transcode", "", CAT),
        Event("delivered", "transcode", "A", CAT, 1),
        Event("requeued", "transcode", "A", CAT, 1),
        Event("redelivered", "transcode", "A", CAT, 2),
        Event("requeued", "transcode", "A", CAT, 2, "consumer gone"),
        Event("redelivered", "transcode", "B", CAT, 3),
        Event("dead-lettered", "transcode", "B", CAT, 3, "rejected"),
        Event("routed", "dead-letters", "", DEAD),
    ) == [
        "p0->>p1: cat.mp4",
        "p1->>p2: cat.mp4",
        "p2-->>p1: nack cat.mp4",
        "p1->>p2: cat.mp4 (delivery 2)",
        "Note over p1: A is gone: cat.mp4 is back",
        "p1->>p3: cat.mp4 (delivery 3)",
        "p1->>p4: cat.mp4 (rejected)",
    ]


def test_printed_line_is_a_note_unless_it_names_a_message() -> None:
    assert lines(
        Event("published", "transcode", "", CAT),
        Event("routed", "transcode", "", CAT),
        "confirmed; 1 task",
        "cat.mp4 is there",
    ) == ["p0->>p1: cat.mp4", "Note over p0,p1: confirmed#59; 1 task"]


def test_queues_with_several_keys_are_drawn_behind_an_exchange() -> None:
    deleted = CAT._replace(id=2, routing_key="video.deleted")
    uploaded = CAT._replace(routing_key="video.uploaded")
    assert lines(
        Event("published", "video.uploaded", "", uploaded),
        Event("routed", "audit", "", uploaded),
        Event("routed", "thumbnails", "", uploaded),
        Event("published", "video.deleted", "", deleted),
        Event("routed", "audit", "", deleted),
    ) == [
        "p0->>p1: video.uploaded: cat.mp4",
        "p1->>p2: cat.mp4",
        "p1->>p3: cat.mp4",
        "p0->>p1: video.deleted: cat.mp4",
        "p1->>p2: cat.mp4",
    ]


@pytest.mark.parametrize(("queue", "name"), [("transcode", "producer"), ("audit", "publisher")])
def test_unnamed_producer_is_a_publisher_where_queues_are_bound(queue: str, name: str) -> None:
    events = [Event("published", "transcode", "", CAT), Event("routed", queue, "", CAT)]
    assert f"participant p0 as {name}" in sequence_diagram(events, "Title")


def test_a_consumer_that_publishes_is_drawn_as_itself() -> None:
    answer = Message(2, "replies", "90", {})
    assert lines(
        Event("published", "transcode", "", CAT),
        Event("routed", "transcode", "", CAT),
        Event("delivered", "transcode", "replier", CAT, 1),
        Event("published", "replies", "replier", answer),
        Event("routed", "replies", "", answer),
    ) == ["p0->>p1: cat.mp4", "p1->>p2: cat.mp4", "p2->>p3: 90"]


def test_who_publishes_is_known_from_the_run(tmp_path: Path) -> None:
    (tmp_path / "answers.py").write_text(
        '"""Answers."""\n'
        "from minibroker import Broker\n"
        "broker = Broker()\n"
        "broker.declare('asked')\n"
        "broker.declare('replies')\n"
        "broker.publish('asked', 'cat.mp4')\n"
        "with broker.consume('asked', 'replier') as consumer:\n"
        "    broker.publish('replies', '90')\n"
        "broker.publish('asked', 'dog.mp4')\n"
    )
    done = record(tmp_path / "answers.py", tmp_path / "out.mmd")
    assert not done.returncode, done.stderr
    drawn = (tmp_path / "out.mmd").read_text()
    assert "participant p0 as producer" in drawn
    assert "participant p2 as replier" in drawn
    assert "p2->>p3: 90" in drawn
    assert "p0->>p1: dog.mp4" in drawn


def test_unroutable_message_ends_at_the_exchange() -> None:
    assert lines(Event("published", "nobody", "", CAT), Event("unroutable", "nobody", "", CAT)) == [
        "p0-xp1: cat.mp4",
        "Note over p0,p1: cat.mp4 is lost: no queue is bound to it",
    ]


def test_log_shows_offsets() -> None:
    record = Message(0, "uploads", "cat.mp4", {"publisher": "web"})
    assert lines(
        Event("appended", "uploads", "", record),
        Event("read", "uploads", "search", record),
        Event("committed", "uploads", "search", record),
    ) == ["p0->>p1: 0: cat.mp4", "p1->>p2: 0: cat.mp4", "p2-->>p1: commit 1"]


def test_every_recording_is_on_a_page() -> None:
    assert {path.with_suffix(".py") for path in SNIPPETS.rglob("*.mmd")} == set(RECORDED)
