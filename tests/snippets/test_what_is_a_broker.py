"""What each step of the chapter promises, and that the promise is gone without its line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import minibroker
import pytest

from handbook.snippet import Snippet
from tests.snippets.running import SNIPPETS

QUEUE = "what_is_a_broker/step_1_queue.py"
ACKNOWLEDGEMENT = "what_is_a_broker/step_2_acknowledgement.py"
ROUTING = "what_is_a_broker/step_3_routing.py"
LOG = "what_is_a_broker/step_4_log.py"
SEMANTICS = "what_is_a_broker/delivery_semantics.py"
VIDEOS = ["cat.mp4", "dog.mp4", "owl.mp4"]

Change = tuple[str, str]  # a line of a step, and what stands there instead
Load = Callable[..., ModuleType]


def text_of(path: str, change: Change | None = None) -> str:
    text = (SNIPPETS / path).read_text()
    if change is None:
        return text
    assert text.count(change[0]) == 1, f"{path} has {text.count(change[0])} times {change[0]!r}"
    return text.replace(*change)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what makes a step a module, perhaps with one line changed."""

    def load(path: str, change: Change | None = None) -> ModuleType:
        module = ModuleType("step")
        monkeypatch.setitem(sys.modules, "step", module)  # where dataclasses look their names up
        exec(compile(text_of(path, change), path, "exec"), module.__dict__)
        return module

    return load


def with_videos(step: ModuleType) -> Any:
    broker = step.Broker()
    broker.declare("transcode")
    for video in VIDEOS:
        broker.publish("transcode", video)
    return broker


def after_a_crash(step: ModuleType, broker: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Let A crash with a task in its hands; return what B says it took."""

    async def run() -> None:
        with pytest.raises(RuntimeError):
            await step.work(broker, "A", crash=True)
        capsys.readouterr()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(step.work(broker, "B"), timeout=0.2)

    asyncio.run(run())
    printed = capsys.readouterr().out.splitlines()
    return [line.removeprefix("B takes ") for line in printed if "takes" in line]


IN_PLACE = [f"{VIDEOS[0]}, delivery 2", *(f"{video}, delivery 1" for video in VIDEOS[1:])]


def test_step_1_loses_what_a_crashed_worker_held_and_keeps_the_rest_in_order(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load(QUEUE)
    assert after_a_crash(step, with_videos(step), capsys) == VIDEOS[1:]


def test_step_1_has_no_order_without_its_queue(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load(
        QUEUE, ("setdefault(name, asyncio.Queue())", "setdefault(name, asyncio.LifoQueue())")
    )
    assert after_a_crash(step, with_videos(step), capsys) == VIDEOS[1::-1]


def test_step_2_delivers_again_what_a_crashed_worker_held(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load(ACKNOWLEDGEMENT)
    broker = with_videos(step)
    assert after_a_crash(step, broker, capsys) == IN_PLACE
    assert broker.queues["transcode"].empty()


@pytest.mark.parametrize(
    "change",
    [
        ("                delivery.nack()", "                pass"),
        ("self.consumer.queue.put_nowait((self.message, self.number))", "pass"),
        ("asyncio.PriorityQueue())", "asyncio.Queue())"),
        ("number + 1", "number"),
    ],
    ids=["nothing is given back", "nack forgets", "back at the end", "nothing is counted"],
)
def test_step_2_fails_without_a_line(
    load: Load, capsys: pytest.CaptureFixture[str], change: Change
) -> None:
    step = load(ACKNOWLEDGEMENT, change)
    assert after_a_crash(step, with_videos(step), capsys) != IN_PLACE


def test_step_2_delivers_everything_again_when_nothing_is_acknowledged(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    step = load(ACKNOWLEDGEMENT, ("            delivery.ack()", "            pass"))
    broker = with_videos(step)
    assert after_a_crash(step, broker, capsys) == IN_PLACE
    assert broker.queues["transcode"].qsize() == len(VIDEOS)


def test_step_3_holds_what_step_2_promises() -> None:
    before, after = (Snippet(SNIPPETS, path) for path in (ACKNOWLEDGEMENT, ROUTING))
    for name in ("Delivery", "Consumer"):
        assert before.section(name) == after.section(name)
    consume = before.section("Broker").partition("    @contextmanager")[2]
    assert consume
    assert after.section("Broker").endswith(consume)


def routed(step: ModuleType) -> list[list[str]]:
    """Return the queues that get a message, for some keys; then how many copies each holds."""
    broker = step.Broker()
    for queue, pattern in (("exact", "video.uploaded"), ("one", "video.*"), ("any", "video.#")):
        broker.declare(queue)
        broker.bind(queue, pattern)
    broker.bind("any", "video.uploaded")  # a second binding makes no second copy
    keys = ("video", "video.uploaded", "video.deleted", "video.uploaded.hd", "comment", "one")
    queues = [broker.publish(key, "cat.mp4") for key in keys]
    return [*queues, [f"{name} {queue.qsize()}" for name, queue in broker.queues.items()]]


ROUTED = [
    ["any"],
    ["exact", "one", "any"],
    ["one", "any"],
    ["any"],
    [],
    ["one"],
    ["exact 1", "one 3", "any 4"],
]


def test_step_3_copies_a_message_to_each_queue_that_is_bound_to_it(load: Load) -> None:
    assert routed(load(ROUTING)) == ROUTED


@pytest.mark.parametrize(
    "change",
    [
        ("range(len(key) + 1)", "range(1, len(key) + 1)"),
        ('pattern[0] in ("*", key[0])', "pattern[0] == key[0]"),
        ("names = dict.fromkeys(q for", "names = list(q for"),
        ("            self.bind(name, name)\n", ""),
    ],
    ids=["# is one or more", "* is a word", "a copy for each binding", "its name binds nothing"],
)
def test_step_3_fails_without_a_line(load: Load, change: Change) -> None:
    assert routed(load(ROUTING, change)) != ROUTED


def test_step_3_compares_as_the_minibroker_does(load: Load) -> None:
    step = load(ROUTING)
    words = [list(some) for n in range(4) for some in product(("a", "b", "*", "#"), repeat=n)]
    keys = [words for words in words if not {"*", "#"} & set(words)]
    for pattern, key in product(words, keys):
        assert step.matches(pattern, key) == minibroker.matches(pattern, key), (pattern, key)


def left_on_disk(path: Path, folder: Path) -> list[str]:
    """Let a process append one record, kill it when it says so, and read the log's file."""
    command = [sys.executable, str(path), "web", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"web: cat.mp4 is stored at offset 0\n"
        child.kill()
    if os.name == "posix":
        assert child.returncode == -signal.SIGKILL
    return (folder / "uploads.log").read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (None, ['"cat.mp4"']),
        (("        self.file.flush()", "        pass"), []),
        # Nor does a kill show what fsync is for: the operating system still has the record.
        (("        os.fsync(self.file.fileno())", "        pass"), ['"cat.mp4"']),
    ],
    ids=["as it is", "without flush", "without fsync"],
)
def test_step_4_keeps_a_record_through_a_kill(
    tmp_path: Path, change: Change | None, kept: list[str]
) -> None:
    path = tmp_path / "step.py"
    path.write_text(text_of(LOG, change))
    assert left_on_disk(path, tmp_path) == kept


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (None, True),
        (("        os.fsync(self.file.fileno())", "        pass"), False),
        (("        self.file.flush()", "        pass"), False),
    ],
    ids=["as it is", "without fsync", "without flush"],
)
def test_step_4_waits_for_the_disk_before_it_confirms(
    load: Load,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change | None,
    holds: bool,
) -> None:
    log = load(LOG, change).Log(tmp_path / "uploads.log")
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    for video in VIDEOS:
        log.append(video)
    whole = [len('"cat.mp4"\n') * n for n in (1, 2, 3)]
    assert (sizes == whole) is holds


def after_half_a_record(step: ModuleType, folder: Path) -> list[str]:
    log = step.Log(folder / "uploads.log")
    log.append("cat.mp4")
    log.file.close()
    with (folder / "uploads.log").open("ab") as file:
        file.write(b'"dog.m')  # the process died here
    again = step.Log(folder / "uploads.log")
    again.append("owl.mp4")
    return [again[offset] for offset in range(len(again))]


def test_step_4_cuts_off_half_a_record(load: Load, tmp_path: Path) -> None:
    assert after_half_a_record(load(LOG), tmp_path) == ["cat.mp4", "owl.mp4"]


def test_step_4_cannot_read_on_after_half_a_record_that_stays(load: Load, tmp_path: Path) -> None:
    step = load(LOG, ("        self.file.truncate(self.starts[-1])", "        pass"))
    with pytest.raises(json.JSONDecodeError):
        after_half_a_record(step, tmp_path)


async def take(broker: Any, group: str, number: int) -> list[int]:
    """Return the offsets that a group's next member reads and commits."""
    records = broker.read("uploads", group)
    offsets = []
    for _ in range(number):
        record = await asyncio.wait_for(anext(records), timeout=60)
        broker.commit("uploads", group, record)
        offsets.append(record.id)
    return offsets


@pytest.mark.parametrize(
    ("change", "next_offsets"),
    [
        (None, [2]),
        (('        self.commits.append(f"{log} {group} {record.id + 1}")', ""), [0]),
        (('f"{log} {group} {record.id + 1}"', 'f"{log} {group} {record.id}"'), [1]),
    ],
    ids=["as it is", "the commit is not written", "the commit is one too low"],
)
def test_step_4_each_group_goes_on_where_it_was_after_a_restart(
    load: Load, tmp_path: Path, change: Change | None, next_offsets: list[int]
) -> None:
    step = load(LOG, change)
    first = step.Broker(tmp_path)
    for video in VIDEOS:
        first.append("uploads", video)
    assert asyncio.run(take(first, "search", 2)) == [0, 1]
    restarted = step.Broker(tmp_path)
    assert asyncio.run(take(restarted, "search", 1)) == next_offsets
    assert asyncio.run(take(restarted, "mail", 3)) == [0, 1, 2]


def test_step_4_wakes_a_reader_that_waits_at_the_end(load: Load, tmp_path: Path) -> None:
    async def run() -> list[int]:
        broker = load(LOG).Broker(tmp_path)
        waiting = asyncio.create_task(take(broker, "search", 1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert broker.waiting
        broker.append("uploads", "cat.mp4")
        return await waiting

    assert asyncio.run(run()) == [0]


def outcome(semantics: ModuleType, plan: str) -> tuple[int, int]:
    consumer = semantics.Consumer()
    asyncio.run(asyncio.wait_for(semantics.follow(plan, consumer), timeout=60))
    return consumer.sent, consumer.saved()


def test_without_a_crash_every_plan_has_its_effect_once(load: Load) -> None:
    semantics = load(SEMANTICS)
    for plan in semantics.PLANS:
        calm = plan.replace("CRASH, ", "").replace(", CRASH", "")
        assert set(outcome(semantics, calm)) <= {0, 1}
        assert sum(outcome(semantics, calm)) >= 1


def test_a_saved_id_absorbs_the_second_delivery_only_because_it_is_a_key(load: Load) -> None:
    assert outcome(load(SEMANTICS), "save, CRASH, ack") == (0, 1)
    twice = load(SEMANTICS, ("id INTEGER PRIMARY KEY", "id INTEGER"))
    assert outcome(twice, "save, CRASH, ack") == (0, 2)


@pytest.mark.parametrize("path", [QUEUE, ACKNOWLEDGEMENT, ROUTING, LOG])
def test_each_step_speaks_the_minibrokers_language(load: Load, path: str) -> None:
    step = load(path)
    own = {"open"}  # a file: the minibroker has none
    for name in ("Broker", "Consumer", "Delivery"):
        if hasattr(step, name):
            methods = {each for each in vars(getattr(step, name)) if not each.startswith("_")}
            assert methods - own <= set(dir(getattr(minibroker, name))), name
    fields = step.Message._fields
    assert fields == tuple(each for each in minibroker.Message._fields if each in fields)
