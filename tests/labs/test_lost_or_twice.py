"""Lost or twice: a worker killed at every step, on every broker, and the effects it leaves.

The worker is the snippet of the idempotent receiver, in three ways: as it is; without its inbox;
and without its inbox and with the acknowledgement before the work. `--update` writes the counts
that the lab prints, every other run compares.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import aio_pika
import nats
import psycopg
import pytest
import redis

from tests.brokers import Server
from tests.patterns.stage import Stage
from tests.records import AGAIN, DATA
from tests.snippets.running import SNIPPETS, beginning_with, download, whole_code

RECORD = DATA / "lost_or_twice.json"
FIRST, AFTER, IDEMPOTENT = WAYS = ("acknowledge first", "acknowledge after", "idempotent receiver")
BEFORE_BOTH, BETWEEN, AFTER_BOTH = STEPS = ("before both", "between", "after both")
#: One message for each step at which its worker is killed, and one whose worker lives.
CASES = (*STEPS, "no crash")
#: Published last, when nothing can come behind it: whoever does it has committed all the others.
END = "end"


#: The block around it goes on as if nothing were.
COMMIT = "await db.execute('COMMIT'); await db.execute('BEGIN')"


class Place(NamedTuple):
    """How a snippet acknowledges, and what it calls the body of its message."""

    line: str
    body: str
    #: A request on the connection that acknowledges, where the acknowledgement has no answer: the
    #: answer to this one shows that the broker has both.
    ask: str = "pass"
    #: What ends the transaction of the acknowledgement, where it is a statement of one.
    commit: str = "pass"
    #: What ends the transaction of the work before, so that these are two.
    apart: str = "pass"


PLACES = {
    "rabbitmq": Place(
        "await message.ack()", "message.body", ask="await _.set_qos(prefetch_count=1)"
    ),
    "kafka": Place("await consumer.commit(record)", "record.value"),
    "nats": Place("await message.ack_sync(SECONDS)", "message.data"),
    "redis": Place("await redis.xack(CHANNEL, RECEIVERS, number)", "body"),
    "mqtt": Place(
        "session.ack(message)",
        "bytes(message.payload)",
        ask='await session.unsubscribe("nothing")',
    ),
    "postgresql": Place("await db.execute(DELETE, [number])", "body", commit=COMMIT),
}
#: As if the effect were in another database than the queue.
TWO_COMMITS = "postgresql, two commits"
RUNS = PLACES | {TWO_COMMITS: PLACES["postgresql"]._replace(apart=COMMIT)}

#: Before the text that counts a view in the inbox.
WORK = r"(?=(?:what = |await handle\()[^\n]*count_once|await handle\(\n)"

#: A message says by its body at which step its worker is to die. It dies there once: the next
#: worker that comes to the step with this message goes on.
MORTAL = """import os
import signal
from pathlib import Path


def dies(step: str, body: bytes) -> bool:
    grave = Path(__file__).parent / body.decode()
    if f".{step}." not in grave.name or grave.exists():
        return False
    grave.touch()
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def mortal(way: str, run: str, code: str) -> str:
    """Return the snippet's code with its steps in the order of `way`, and a kill at each."""
    line, body, ask, commit, apart = RUNS[run]
    acknowledge = [line, commit]

    def kill(step: str) -> list[str]:
        # Whatever was acknowledged so far, this message or the ones before, the broker has.
        return [f"if dies({part(step)!r}, {body}):", f"    {ask}", "    die()"]

    work = kill(BEFORE_BOTH)
    end = [apart, *kill(BETWEEN), *acknowledge, *kill(AFTER_BOTH)]
    if way == FIRST:
        work += [*acknowledge, *kill(BETWEEN)]
        end = [commit, *kill(AFTER_BOTH)]
    code = edited(code, re.escape(line) + ".*\n", end)
    code = edited(code, WORK, work)
    return beginning_with(MORTAL, code)


def edited(code: str, pattern: str, lines: list[str]) -> str:
    """Put lines in the place of the only match of the pattern, with its indentation."""
    [found] = re.finditer(f"^( +)(?:{pattern})", code, re.MULTILINE)
    indented = "".join(f"{found[1]}{line}\n" for line in lines)
    rest = code[found.end() :].removeprefix("\n")
    if found[0] == found[1]:  # nothing is replaced: what follows keeps its indentation
        rest = found[1] + rest
    return code[: found.start()] + indented + rest


def part(words: str) -> str:
    """Return words as a part of a video's name."""
    return words.replace(" ", "-")


def video(way: str, case: str) -> str:
    return f"{part(way)}.{part(case)}.mp4"


async def consumers_in_rabbitmq(url: str) -> int:
    """Ask the queue: the management's list may have one that is gone, of an earlier test."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("views", passive=True)
        return queue.declaration_result.consumer_count or 0


async def unsettled_in_nats(url: str) -> int:
    async with await nats.connect(url) as connection:
        info = await connection.jetstream().consumer_info("views", "counter")
        return (info.num_pending or 0) + (info.num_ack_pending or 0)


def unsettled(stage: Stage) -> int:
    """Ask for the messages that are to come, where one that is published now may overtake them.

    NATS and Redis redeliver late; PostgreSQL passes over what a worker locks until it sees it dead.
    """
    if stage.key == "nats":
        return asyncio.run(unsettled_in_nats(stage.addresses["NATS_URL"]))
    if stage.key == "redis":
        with redis.Redis.from_url(stage.addresses["REDIS_URL"]) as client:
            groups: Any = client.xinfo_groups("views")
            return int(groups[0]["pending"] + (groups[0]["lag"] or 0))
    if stage.key == "postgresql":
        with psycopg.connect(stage.addresses["DATABASE_URL"]) as db:
            row = db.execute("SELECT count(*) FROM queue").fetchone()
            return int(row[0]) if row else 0
    return 0


def let_one_die(stage: Stage) -> None:
    worker = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: worker.ended, worker)
    assert not worker.process.alive
    if stage.key == "rabbitmq":  # without a consumer, the queue has back what it held
        url = stage.addresses["RABBITMQ_URL"]
        assert stage.happens(lambda: not asyncio.run(consumers_in_rabbitmq(url)))


def effects(way: str, stage: Stage, others: Stage) -> dict[str, int]:
    """Let workers die, each at its step, until one lives; return the effects of each message.

    `others` publish, and ask for the effects.
    """
    events = {case: f"viewed {video(way, case)}" for case in (*CASES, END)}
    others.call("publish", events=[[str(uuid4()), events[case]] for case in CASES])
    for _ in STEPS:
        let_one_die(stage)
    survivor = stage.spawn("receive", receiver="A")
    assert stage.happens(lambda: unsettled(stage) == 0, survivor)
    others.call("publish", events=[[str(uuid4()), events[END]]])
    last = video(way, END)
    assert stage.happens(lambda: any(last in what for what in survivor.done), survivor)
    assert not survivor.ended
    survivor.kill()
    assert all((stage.snippet.parent / events[step]).exists() for step in STEPS)  # each has died
    counted = others.call("views")
    return {case: counted.get(video(way, case), 0) for case in CASES}


@pytest.mark.parametrize(
    "run", [pytest.param(run, marks=pytest.mark.broker(run.split(",")[0])) for run in RUNS]
)
def test_a_worker_killed_at_every_step(
    run: str,
    server: Server,
    addresses: Callable[[str], dict[str, str]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    key = server.key
    original = SNIPPETS / "patterns" / "idempotent_receiver" / f"on_{key}.py"
    code = original.read_text()
    given = addresses(whole_code(original))

    def staged(name: str, text: str) -> Stage:
        folder = tmp_path / part(name)
        folder.mkdir()
        snippet = download(original, folder)
        snippet.write_text(text)
        if name in {FIRST, AFTER}:  # these count each time
            inbox = folder / "inbox.py"
            counts = edited(inbox.read_text(), r"if not new\.rowcount:", ["if False:"])
            inbox.write_text(counts)
        return Stage(key, snippet, server, addresses=given)

    counted = {}
    with staged("others", code) as others:
        others.call("declare")
        for way in WAYS:
            with staged(way, mortal(way, run, code)) as stage:
                counted[way] = effects(way, stage, others)
    if request.config.getoption("--update"):
        enter(run, {"server": server.version(), "effects": counted})
    assert recorded()[run]["effects"] == counted, AGAIN


def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return content


def enter(name: str, run: dict[str, Any]) -> None:
    """Write a run among the recorded ones, one process of a parallel test run at a time."""
    with (DATA / "versions.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = recorded() | {name: run}
        ordered = {one: runs[one] for one in RUNS if one in runs}
        RECORD.write_text(json.dumps(ordered, indent=2) + "\n")
