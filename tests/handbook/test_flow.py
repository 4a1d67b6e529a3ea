"""What a minibroker tells of a run: a sentence and the line for each event, and what it holds."""

from __future__ import annotations

import asyncio
import json
import linecache
import sys
from pathlib import Path
from typing import Any

import pytest
from minibroker import Event, Message

from handbook.flow import STEPS, sentence
from handbook.runner import program

MINIBROKER = (Path(__file__).parents[2] / "snippets" / "minibroker.py").read_text()
START = "from minibroker import Broker\nbroker = Broker()\n"


@pytest.fixture(autouse=True)
def _as_in_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, no minibroker is imported before a program runs."""
    monkeypatch.delitem(sys.modules, "minibroker")


def steps(code: str) -> list[dict[str, Any]]:
    """Return the steps of a program, each with its message, state, sentence and line."""
    told: list[str] = []
    files = {"program.py": START + code, "minibroker.py": MINIBROKER}

    def send(kind: str, text: str) -> None:
        assert kind == "step", text
        told.append(text)

    asyncio.run(program.run("program.py", files, send))
    for file in files:
        linecache.cache.pop(file, None)
    return [json.loads(each) for each in told]


def test_each_step_says_what_happened_and_what_the_broker_holds() -> None:
    told = steps(
        "broker.declare('transcode')\n"
        "broker.publish('transcode', 'cat.mp4')\n"
        "with broker.consume('transcode', 'A') as a:\n"
        "    pass\n"
        "with broker.consume('transcode', 'B') as b:\n"
        "    b.inbox.get_nowait().ack()\n"
    )
    assert [(step["line"], step["says"]) for step in told] == [
        (4, "The program publishes cat.mp4 with the routing key transcode."),
        (4, "The queue transcode keeps cat.mp4."),
        (5, "transcode delivers cat.mp4 to A."),
        (5, "A is gone: cat.mp4, which it held, is in transcode again."),
        (7, "transcode delivers cat.mp4 again, to B: it is delivery 2."),
        (8, "B acknowledges cat.mp4: transcode forgets it."),
    ]
    queues = [step["queues"][0] for step in told]
    assert {queue["name"] for queue in queues} == {"transcode"}
    cat = [told[0]["message"], "cat.mp4"]
    assert [queue["ready"] for queue in queues] == [[], [[*cat, 0]], [], [[*cat, 1]], [], []]
    assert queues[2]["consumers"] == [{"name": "A", "holds": [[*cat, 1]]}]
    assert queues[4]["consumers"] == [{"name": "B", "holds": [[*cat, 2]]}]
    assert [queue["acknowledged"] for queue in queues] == [0, 0, 0, 0, 0, 1]


def test_a_dead_letter_is_seen_to_go_to_its_queue() -> None:
    told = steps(
        "broker.declare('transcode')\n"
        "broker.publish('transcode', 'cat.mp4')\n"
        "with broker.consume('transcode', 'A') as a:\n"
        "    a.inbox.get_nowait().nack(requeue=False)\n"
    )
    assert [step["says"] for step in told[3:]] == [
        "cat.mp4 leaves transcode as a dead letter: its consumer rejected it.",
        "dead-letters keeps cat.mp4 as a dead letter: its consumer rejected it.",
    ]
    *_, last = told[-1]["queues"]
    assert (last["name"], [body for _, body, _ in last["ready"]]) == ("dead-letters", ["cat.mp4"])


def test_a_log_shows_how_far_its_groups_are() -> None:
    told = steps(
        "import asyncio\n"
        "async def main():\n"
        "    broker.append('views', 'cat.mp4')\n"
        "    record = await anext(broker.read('views', 'live'))\n"
        "    broker.commit('views', 'live', record)\n"
        "asyncio.run(main())\n"
    )
    assert [step["line"] for step in told] == [5, 6, 7]
    assert [step["logs"][0]["groups"] for step in told] == [
        [],
        [{"name": "live", "read": 1, "committed": 0}],
        [{"name": "live", "read": 1, "committed": 1}],
    ]
    assert told[-1]["logs"][0]["records"] == [[0, "cat.mp4"]]


def test_each_broker_of_a_run_has_its_own_queues_and_counts() -> None:
    act = (
        "broker = Broker()\n"
        "broker.declare('notify')\n"
        "broker.publish('notify', 'cat.mp4')\n"
        "with broker.consume('notify', 'A') as a:\n"
        "    a.unacked[0].ack()\n"
    )
    told = steps(act + act)
    half = len(told) // 2
    assert [step["queues"] for step in told[:half]] == [step["queues"] for step in told[half:]]
    notify, _ = told[-1]["queues"]
    assert (notify["name"], notify["acknowledged"]) == ("notify", 1)


def test_who_publishes_in_a_consumers_block_is_named() -> None:
    told = steps(
        "broker.declare('asked')\n"
        "with broker.consume('asked', 'replier') as a:\n"
        "    broker.publish('nowhere', '90')\n"
    )
    assert [step["says"] for step in told] == [
        "replier publishes 90 with the routing key nowhere.",
        "No queue is bound to nowhere: 90 is lost.",
    ]


def test_a_long_run_is_told_to_a_limit_and_says_so() -> None:
    told = steps(f"for number in range({STEPS}):\n    broker.append('views', 'cat.mp4')\n" * 2)
    assert len(told) == STEPS
    assert [step["last"] for step in told] == [False] * (STEPS - 1) + [True]


def test_what_expires_and_what_is_given_back_is_said() -> None:
    cat = Message(1, "transcode", "cat.mp4", {})
    assert [
        sentence(Event("expired", "transcode", "", cat)),
        sentence(Event("dead-lettered", "transcode", "", cat, reason="expired")),
        sentence(Event("requeued", "transcode", "A", cat, 1)),
    ] == [
        "cat.mp4 has expired in transcode: nobody took it in time.",
        "cat.mp4 leaves transcode as a dead letter: its time to live is over.",
        "A gives cat.mp4 back: it has its old place in transcode again.",
    ]
