"""`::: atlas`: what is recorded of a run is what a reader is told, of several runs as a range."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from handbook.directives.atlas import expand
from handbook.directives.project import Project
from handbook.evidence import EvidenceError

SEEN = {
    "took": 20,
    "published": 500,
    "confirmed": 400,
    "refused": 0,
    "unknown": 0,
    "lost": 0,
    "twice": 0,
    "out_of_order": 0,
    "unknown_there": 0,
    "refused_there": 0,
    "strangers": 0,
    "gap": 5.25,
    "whole": 1.0,
}
HISTORY = (
    {"message": 0, "began": 0.1, "ended": 0.2, "outcome": "confirmed", "read": [0]},
    {"event": "the fault begins: leader-killed n1", "at": 2.0},
    {"event": "the fault ends", "at": 4.0},
    {"message": 1, "began": 4.5, "ended": 4.6, "outcome": "confirmed", "read": [1]},
    {"event": "the load ends", "at": 6.0},
)


def project(root: Path, *runs: dict[str, Any], cannot: str = "") -> Project:
    """Return a project with a record of one question to one broker in one setting."""
    folder = root / "docs" / "data" / "atlas"
    (folder / "nats" / "r3").mkdir(parents=True)
    question = {"group": "Fail-over", "asks": "It dies: what is lost?", "what": "It is killed."}
    (folder / "questions.json").write_text(json.dumps({"leader-killed": question}))
    cell = {"taken": "2026-11-30", "runs": [SEEN | run for run in runs]}
    record = {
        "server": "NATS 2.15.3",
        "client": "nats-py 2.16.0",
        "settings": {"r3": {"label": "`num_replicas` 3", "default": False, "safe": True}},
        "cannot": {"leader-killed": cannot} if cannot else {},
        "cells": {"r3": {"leader-killed": cell}} if runs else {},
    }
    (folder / "nats.json").write_text(json.dumps(record))
    lines = "".join(json.dumps(line) + "\n" for line in HISTORY)
    (folder / "nats/r3/leader-killed.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return Project(root, "", "https://example.org/repository")


def test_what_is_kept_is_said_with_its_history(tmp_path: Path) -> None:
    said = expand(project(tmp_path, {}), "questions")
    assert "### It dies: what is lost? { #leader-killed }" in said
    assert "- **NATS JetStream**, `num_replicas` 3 (safe): 400 messages were confirmed" in said
    assert "none of them is lost; the longest time without a confirm was 5.2 s." in said
    assert "[History](../data/atlas/nats/r3/leader-killed.jsonl.gz)" in said
    assert "{ #leader-killed-nats-r3 }" in said
    for word in ("refused", "no answer", "twice", "order", "step"):
        assert word not in said


def test_all_that_was_seen_is_said_and_runs_that_differ_as_a_range(tmp_path: Path) -> None:
    runs = (
        {"lost": 90, "refused": 3, "unknown": 32, "unknown_there": 30, "twice": 2},
        {"lost": 94, "confirmed": 410, "out_of_order": 1, "whole": 61.2},
    )
    said = expand(project(tmp_path, *runs), "questions")
    assert "of 400 to 410 confirmed messages, **90 to 94 are lost**" in said
    assert "The broker or the client refused 0 to 3." in said
    assert "0 to 32 calls got no answer, and 0 to 30 of these messages were there." in said
    assert "0 to 2 messages came a second time. 0 to 1 messages came out of order." in said
    assert "All servers were in step again 1 to 61 s after the fault." in said


def test_one_message_is_spoken_of_as_one(tmp_path: Path) -> None:
    said = expand(project(tmp_path, {"unknown": 1, "twice": 1}), "questions")
    assert "1 call got no answer, and none was there. 1 message came a second time." in said


def test_one_run_that_loses_is_enough_to_mark_the_setting(tmp_path: Path) -> None:
    table = expand(project(tmp_path, {}, {"lost": 7}), "matrix")
    assert 'data-for="nats"' in table
    assert "#leader-killed-nats-r3" in table
    assert "✗" in table
    assert "0 to 7 lost" in table
    assert "✓" not in table


def test_a_broker_without_a_cluster_has_a_row_that_says_what_there_is_instead(
    tmp_path: Path,
) -> None:
    table = expand(project(tmp_path, {}), "matrix")
    _, row = table.split('<tbody data-for="mqtt">')
    assert "no cluster: a bridge copies messages" in row
    assert "#mqtt-on-several-servers" in row


def test_what_cannot_be_asked_has_a_reason(tmp_path: Path) -> None:
    made = project(tmp_path, cannot="It has no cluster.")
    assert "(safe): It has no cluster." in expand(made, "questions")
    assert "can't be asked" in expand(made, "matrix")


def test_the_plot_says_in_words_what_it_shows(tmp_path: Path) -> None:
    drawn = expand(project(tmp_path, {}), "plot leader-killed")
    assert 'data-for="nats"' in drawn
    assert "num_replicas 3: none for 5.2 s at the longest." in drawn


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("all", "takes matrix, questions, versions or `plot`"),
        ("plot x", "there are: leader-killed"),
    ],
)
def test_a_part_that_is_not_there_is_named(tmp_path: Path, argument: str, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        expand(project(tmp_path, {}), argument)


def test_without_a_record_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="`make atlas` writes it"):
        expand(Project(tmp_path, "", ""), "matrix")
