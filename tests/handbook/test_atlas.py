"""`::: atlas`: what is recorded of a run is what a reader is told, of several runs as a range."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from handbook import page
from handbook.answers import filled
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


TRIAL = {
    "question": "too-long",
    "broker": "redis",
    "setting": "`MAXLEN = 10`",
    "holds": False,
    "short": "{dropped} dropped",
    "says": "Each was answered, and {dropped} were gone.",
    "default": False,
    "documented": None,
    "test": "tests/too_long.py#redis_maxlen",
    "taken": "2026-11-30",
    "server": "Redis 8.0.6",
    "client": "redis 8.1.0",
    "took": 0.1,
    "runs": [{"dropped": 5.0}],
}
OTHERWISE = {"agrees": False, "says": "None is dropped.", "source": "https://redis.example/"}
PROMISED = """nats:
  r3:
    leader-killed:
      keeps: true
      says: All is kept.
      source: https://nats.example/
"""


def project(root: Path, *runs: dict[str, Any], cannot: str = "", **trial: Any) -> Project:
    """Return a project with a record of one question to one broker in one setting.

    With what is said of a `trial`, also of another question, on one server.
    """
    page.begin("atlas/index.md", "", "")
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
    if trial:
        question = {"group": "Limits", "asks": "Full: who learns of it?", "what": "It is filled."}
        single = {
            "questions": {"too-long": question | {"cannot": {"kafka": "It has no such limit."}}},
            "trials": {"too-long-redis-maxlen": TRIAL | trial},
        }
        (folder / "single.json").write_text(json.dumps(single))
        (root / "tests").mkdir()
        (root / "tests/too_long.py").write_text("\ndef redis_maxlen(): ...\n")
    lines = "".join(json.dumps(line) + "\n" for line in HISTORY)
    (folder / "nats/r3/leader-killed.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return Project(root, "", "https://example.org/repository")


GROUP = "group Fail-over"


def promised(root: Path, text: str) -> None:
    """Write down what the documentation says of clusters."""
    (root / "docs" / "atlas").mkdir()
    (root / "docs" / "atlas" / "documented.yml").write_text(text)


def test_what_is_kept_is_said_with_its_history(tmp_path: Path) -> None:
    said = expand(project(tmp_path, {}), GROUP)
    assert "## It dies: what is lost? { #leader-killed }" in said
    assert (
        "- **NATS JetStream**, `num_replicas` 3 (the safest that ran): 400 messages were confirmed"
        in said
    )
    assert "none of them is lost; the longest time without a confirm was 5.2 s." in said
    assert "[History](../data/atlas/nats/r3/leader-killed.jsonl.gz)" in said
    assert "/tests/atlas/on_nats.py)" in said
    assert "{ #leader-killed-nats-r3 }" in said
    for word in ("refused", "no answer", "twice", "order", "step"):
        assert word not in said


def test_all_that_was_seen_is_said_and_runs_that_differ_as_a_range(tmp_path: Path) -> None:
    runs = (
        {"lost": 90, "refused": 3, "unknown": 32, "unknown_there": 30, "twice": 2},
        {"lost": 94, "confirmed": 410, "out_of_order": 1, "whole": 61.2},
    )
    said = expand(project(tmp_path, *runs), GROUP)
    assert "Of 400 to 410 confirmed messages, **90 to 94 are lost**" in said
    assert "The broker or the client refused 0 to 3." in said
    assert "0 to 32 calls got no answer, and 0 to 30 of these messages were there." in said
    assert "0 to 2 messages came a second time. 0 to 1 messages came out of order." in said
    assert "All servers were in step again 1 to 61 s after the fault." in said


def test_one_message_is_spoken_of_as_one(tmp_path: Path) -> None:
    said = expand(project(tmp_path, {"unknown": 1, "twice": 1}), GROUP)
    assert "1 call got no answer, and none was there. 1 message came a second time." in said


def test_one_run_that_loses_is_enough_to_mark_the_setting(tmp_path: Path) -> None:
    table = expand(project(tmp_path, {}, {"lost": 7}), "matrix")
    assert '<td data-for="nats">' in table
    assert '<a id="leader-killed-nats-r3" href="fail-over/#leader-killed-nats-r3"' in table
    assert "✗" in table
    assert "0 to 7 lost" in table
    assert "✓" not in table


def test_a_trial_stands_in_its_group_with_the_numbers_of_its_runs(tmp_path: Path) -> None:
    made = project(tmp_path, {}, runs=[{"dropped": 5.0}, {"dropped": 4.5}])
    table = expand(made, "matrix")
    assert table.index('data-pattern="fail-over"') < table.index('data-pattern="limits"')
    assert ">4.5 to 5 dropped</a>" in table
    said = expand(made, "group Limits")
    assert "- **Redis Streams**, `MAXLEN = 10`: Each was answered, and 4.5 to 5 were gone." in said
    assert "[Test](https://example.org/repository/blob/main/tests/too_long.py#L2)" in said
    assert "- **Kafka**: It has no such limit." in said
    assert "- **RabbitMQ**: This was not run yet." in said


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1000], "1000"),
        ([44.94], "45"),
        ([5.97, 6.02], "6"),
        ([0.123, 0.4], "0.12 to 0.4"),
        ([123.4], "123"),
    ],
)
def test_what_was_measured_is_said_to_two_digits(numbers: list[float], said: str) -> None:
    assert filled("{it}", [{"it": number} for number in numbers]) == said


def test_settings_that_show_the_same_are_one_line_with_a_link_each(tmp_path: Path) -> None:
    made = project(tmp_path, {}, default=True)
    file = tmp_path / "docs/data/atlas/single.json"
    single = json.loads(file.read_text())
    single["trials"]["too-long-redis-minid"] = TRIAL | {"setting": "`MINID`"}
    file.write_text(json.dumps(single))
    [line] = re.findall(r"5 dropped: (.*?)</div>", expand(made, "trials too-long"))
    assert re.findall(r'title="(.*?)" href=.*?>(.*?)</a>', line) == [
        ("MAXLEN = 10", "default"),
        ("MINID", "minid"),
    ]


def test_a_few_answers_are_said_in_a_list(tmp_path: Path) -> None:
    made = project(tmp_path, {}, default=True)
    page.begin("types/redis.md", "", "")
    assert expand(made, "said too-long-redis-maxlen") == (
        "- [Full.](../atlas/limits.md#too-long-redis-maxlen) `MAXLEN = 10` (default): "
        "Each was answered, and 5 were gone."
    )
    two = expand(made, "said too-long-redis-maxlen leader-killed-nats-r3")
    assert "- **Redis Streams**: [Full.]" in two
    assert "- **NATS JetStream**: [It dies.](../atlas/fail-over.md#leader-killed-nats-r3)" in two


def test_a_patterns_snippet_in_a_cluster_is_said_with_its_test(tmp_path: Path) -> None:
    made = project(tmp_path, {}, default=True)
    said = {
        "broker": "nats",
        "says": "{confirmed} tasks were confirmed.",
        "by_hand": "An operator helped.",
        "server": "NATS 2.15.3",
        "test": "tests/too_long.py#work_queue",
        "runs": [{"confirmed": 120}, {"confirmed": 119}],
    }
    (tmp_path / "snippets/patterns/work_queue").mkdir(parents=True)
    assert expand(made, "pattern work_queue") == ""
    (tmp_path / "docs/data/atlas/patterns.json").write_text(json.dumps({"work_queue": said}))
    with (tmp_path / "tests/too_long.py").open("a") as file:
        file.write("async def work_queue(): ...\n")
    assert expand(made, "pattern work_queue").endswith(
        "- **NATS JetStream**: 119 to 120 tasks were confirmed. An operator helped. Seen on NATS"
        " 2.15.3. [Test](https://example.org/repository/blob/main/tests/too_long.py#L3)"
    )
    with pytest.raises(EvidenceError, match="no pattern 'work-queue'; near it: work_queue"):
        expand(made, "pattern work-queue")


def test_where_documentation_and_run_differ_both_are_said(tmp_path: Path) -> None:
    made = project(tmp_path, {"lost": 7}, documented=OTHERWISE)
    promised(tmp_path, PROMISED)
    said = expand(made, "disagreements")
    assert said.index("## NATS JetStream") < said.index("All is kept.")
    assert said.index("## Redis Streams") < said.index("None is dropped. ([source]")
    assert "[Seen](limits.md#too-long-redis-maxlen) on Redis 8.0.6: Each was answered" in said
    assert "None was found. Answers that were compared with the documentation: 0." in said
    link = "[The documentation says otherwise](disagreements.md#leader-killed-nats-r3)"
    assert link in expand(made, GROUP)


def test_a_run_that_keeps_what_the_documentation_promises_agrees(tmp_path: Path) -> None:
    made = project(tmp_path, {})
    promised(tmp_path, PROMISED)
    assert "That is [as documented](https://nats.example/)." in expand(made, GROUP)
    assert "All is kept." not in expand(made, "disagreements")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PROMISED.replace("r3", "r5"), "speaks of nats r5 leader-killed, which was not run"),
        (PROMISED.replace("keeps", "holds"), "r3 leader-killed needs keeps, says and source"),
    ],
)
def test_a_wrong_word_on_the_documentation_is_named(tmp_path: Path, text: str, says: str) -> None:
    made = project(tmp_path, {})
    promised(tmp_path, text)
    with pytest.raises(EvidenceError, match=says):
        expand(made, "disagreements")


def test_a_broker_without_a_cluster_says_what_there_is_instead(tmp_path: Path) -> None:
    made = project(tmp_path, {})
    assert "no cluster" in expand(made, "matrix")
    assert "A bridge copies messages to another server" in expand(made, GROUP)
    assert "(../types/beyond-one-cluster.md#mqtt-on-several-servers)" in expand(made, GROUP)


def test_what_cannot_be_asked_has_a_reason(tmp_path: Path) -> None:
    made = project(tmp_path, cannot="It has no leader.")
    assert "- **NATS JetStream**: It has no leader." in expand(made, GROUP)
    assert 'href="fail-over/#leader-killed-nats">can\'t be asked</a>' in expand(made, "matrix")


def test_what_ran_is_counted(tmp_path: Path) -> None:
    said = expand(project(tmp_path, {}, default=True), "versions")
    assert (
        "- **NATS JetStream**: NATS 2.15.3 with nats-py 2.16.0; answers: 1 on three, 2026" in said
    )
    assert (
        "- **Redis Streams**: Redis 8.0.6 with redis 8.1.0; answers: 1 on one server, 2026" in said
    )


def test_the_plot_says_in_words_what_it_shows(tmp_path: Path) -> None:
    drawn = expand(project(tmp_path, {}), "plot leader-killed")
    assert 'data-for="nats"' in drawn
    assert "num_replicas 3: none for 5.2 s at the longest." in drawn


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        (
            "all",
            "takes matrix, disagreements, versions, or trials, group, said, pattern, plot and what",
        ),
        ("group", "takes matrix"),
        ("group Colour", "no group 'Colour'; there are: What a confirm means, Fail-over"),
        ("plot x", "there are: leader-killed"),
        ("trials leader-kiled", "no question 'leader-kiled'; near it: leader-killed"),
        ("said leader-killed-nats-r5", "no answer .*; near it: leader-killed-nats-r3"),
    ],
)
def test_a_part_that_is_not_there_is_named(tmp_path: Path, argument: str, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        expand(project(tmp_path, {}), argument)


def test_without_a_record_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="`make atlas` writes it"):
        expand(Project(tmp_path, "", ""), "matrix")


def test_a_group_without_a_page_is_named(tmp_path: Path) -> None:
    made = project(tmp_path, {})
    file = tmp_path / "docs/data/atlas/questions.json"
    file.write_text(file.read_text().replace("Fail-over", "Colour"))
    with pytest.raises(EvidenceError, match="'Colour', which has no page: name it in GROUPS"):
        expand(made, "matrix")
