"""Partitioned consumers: what they promise, on every broker."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.patterns.claims import claim, differs, holds
from tests.patterns.home import WARM_UP
from tests.patterns.stage import Actor, Stage

STEPS = ("upload", "transcode", "thumbnail", "notify")
WORKERS = ("A", "B")
#: Enough keys for each of two partitions, whatever a broker's hash is. By every hash, fox and owl
#: are in different ones.
KEYS = ("ant", "bee", "cat", "dog", "elk", "fox", "hen", "owl")
#: Where one worker may have every partition, while the other stands by.
ONE_HAS_ALL = {"minibroker", "rabbitmq"}

BOTH = "Two workers are at one key at the same time."
EARLY = "A later task of a key is done while its first one hangs."
SKIPPED = "The task that the killed worker held is gone, and its key goes on without it."
PASSED = "Another key of the partition goes on before the task that hangs is done."
IN_ORDER = "No task overtakes another: each key's tasks are done in order."

_warm_ups = count(1)


def tasks(*keys: str, steps: tuple[str, ...] = STEPS) -> list[tuple[str, str]]:
    """Return the steps of each key, the keys in turn."""
    return [(key, f"{step} {key}") for step in steps for key in keys]


def of(key: str, steps: tuple[str, ...] = STEPS) -> list[str]:
    """Return the tasks of a key, in the order in which they are published."""
    return [task for _, task in tasks(key, steps=steps)]


def happened(*workers: Actor) -> list[tuple[str, str]]:
    """Return what the workers took and did, in the order in which it happened."""
    events = [
        (event["at"], what, event[what])
        for process in {worker.process for worker in workers}
        for event in list(process.events)
        for what in ("taken", "done")
        if what in event and not event[what].startswith(WARM_UP)
    ]
    return [(what, task) for _, what, task in sorted(events, key=lambda event: event[0])]


def done(*workers: Actor) -> list[str]:
    """Return what the workers finished, in the order in which they finished it."""
    return [task for what, task in happened(*workers) if what == "done"]


def begun(workers: list[Actor]) -> set[str]:
    return {task for _, task in happened(*workers)}


def only(key: str, happenings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(what, task) for what, task in happenings if task.endswith(key)]


def in_turn(key: str, steps: tuple[str, ...] = STEPS) -> list[tuple[str, str]]:
    """Return what has to happen to a key: one task after the other."""
    return [(what, task) for task in of(key, steps) for what in ("taken", "done")]


def at_work(stage: Stage, hold: str, *, both: bool) -> list[Actor]:
    """Start two workers that hold on one text, and return when every partition has one.

    With `both`, that is when each of them has had a task. On Kafka, who joins later would wait for
    the one that holds.
    """
    workers = [stage.spawn("work", worker=name, mode="hold", only=hold) for name in WORKERS]
    while True:
        warm_ups = [f"{WARM_UP} {next(_warm_ups)} {key}" for key in KEYS]
        stage.call("submit", tasks=list(zip(KEYS, warm_ups, strict=True)))
        assert stage.happens(partial(_begun, workers, warm_ups), *workers)
        if not both or all(worker.warmed_up for worker in workers):
            return workers


def _begun(workers: list[Actor], tasks: list[str]) -> bool:
    return set(tasks) <= {task for worker in workers for task in worker.warmed_up}


@claim(
    "Several workers handle the tasks of a key in order and one at a time; while one hangs, the"
    " other partitions go on.",
    promise=True,
    seen=BOTH,
    minibroker=holds(
        "async with turns[queue]:",
        "if True:",
        with_help="queues by hash, and a lock for each",
    ),
    rabbitmq=holds(
        '"x-single-active-consumer": True',
        '"x-single-active-consumer": False',
        with_help="the publisher hashes the key to a queue",
    ),
    kafka=holds("consume(GROUP, worker, CHANNEL)", "consume(worker, worker, CHANNEL)"),
    nats=holds("max_ack_pending=1,", "max_ack_pending=100,"),
    redis=holds(
        'locked(redis, f"{stream}:lock"',
        'locked(redis, f"{stream}:{worker}"',
        with_help="streams by hash, and a lock for each",
    ),
    mqtt=holds(
        'session.subscribe(f"{CHANNEL}/{number}")',
        'session.subscribe(f"{CHANNEL}/+")',
        with_help="topics by hash, and one fixed client for each",
    ),
    postgresql=holds(
        "SELECT min(id) FROM task AS same WHERE same.key = task.key)",
        "task.id)",
        with_help="a query that finds the oldest task of each key",
    ),
)
def test_a_keys_tasks_are_handled_in_order(stage: Stage) -> None:
    stage.call("declare")
    workers = at_work(stage, "fox", both=stage.key not in ONE_HAS_ALL or stage.without)
    stage.call("submit", tasks=tasks("fox", "owl"))
    assert stage.happens(
        lambda: (
            ("upload fox" in begun(workers) and "notify owl" in done(*workers))
            or len(only("fox", happened(*workers))) > 1
        ),
        *workers,
    )
    held = [("taken", "upload fox")]
    assert stage.stays(lambda: only("fox", happened(*workers)) == held, 0.5), BOTH
    # What was published first is still at its first step: order is a matter of one key.
    assert "notify owl" in done(*workers)
    for worker in workers:
        worker.release()
    assert stage.happens(lambda: {*of("fox"), *of("owl")} <= {*done(*workers)}, *workers)
    for key in ("fox", "owl"):
        assert only(key, happened(*workers)) == in_turn(key)


@claim(
    "The key decides which tasks wait: those of a key are done in the order of their submission.",
    seen=EARLY,
    minibroker=holds("crc32(key.encode()) % partitions", "len(task) % partitions"),
    rabbitmq=holds("crc32(key.encode()) % len(names)", "len(task) % len(names)"),
    kafka=holds("key=key.encode()", "key=task.encode()"),
    nats=holds('f"{CHANNEL}.{key}"', 'f"{CHANNEL}.{task.split()[0]}"'),
    redis=holds("crc32(key.encode()) % partitions", "len(task) % partitions"),
    mqtt=holds("crc32(key.encode()) % partitions", "len(task) % partitions"),
    postgresql=holds("INSERT, [key, body]", "INSERT, [body, body]"),
)
def test_the_key_decides_which_tasks_wait(stage: Stage) -> None:
    stage.call("declare")
    workers = at_work(stage, "upload fox", both=stage.key not in ONE_HAS_ALL)
    stage.call("submit", tasks=tasks("fox", "owl"))
    assert stage.happens(
        lambda: (
            ("upload fox" in begun(workers) and "notify owl" in done(*workers))
            or any("fox" in task for task in done(*workers))
        ),
        *workers,
    )
    assert stage.stays(lambda: not any("fox" in task for task in done(*workers)), 0.5), EARLY
    for worker in workers:
        worker.release()
    assert stage.happens(lambda: {*of("fox"), *of("owl")} <= {*done(*workers)}, *workers)
    for key in ("fox", "owl"):
        assert [task for task in done(*workers) if key in task] == of(key)


@claim(
    "When a worker is killed another takes over its partitions, and each key's order still holds; "
    "only what it held comes twice.",
    seen=SKIPPED,
    minibroker=holds(
        "await handle(delivery.message.body)",
        "delivery.ack(); await handle(delivery.message.body); continue",
    ),
    rabbitmq=holds(
        "await handle(task)",
        "await message.ack(); await handle(task); continue",
    ),
    kafka=holds("await handle(", "await consumer.commit(record); await handle("),
    nats=holds(
        "await handle(text(message))",
        "await message.ack_sync(); await handle(text(message)); continue",
    ),
    redis=holds(
        "await handle(",
        "await redis.xdel(stream, number); await handle(",
    ),
    mqtt=differs(
        "No other takes over: the partition waits for its own worker, who then goes on in order.",
        "await handle(task)\n            session.ack(message)",
        # It leaves in another thread: not before the kill, without the wait.
        'session.ack(message); await session.unsubscribe("x")\n            await handle(task)',
    ),
    postgresql=holds(
        "await handle(body)",
        'await db.execute("DELETE FROM task WHERE id = %s", [task]); await db.execute("COMMIT");'
        " await handle(body)",
    ),
)
def test_another_worker_takes_over(stage: Stage) -> None:
    stage.call("declare")
    workers = at_work(stage, "transcode fox", both=stage.key not in ONE_HAS_ALL)
    stage.call("submit", tasks=tasks("fox", "owl"))
    assert stage.happens(lambda: "transcode fox" in begun(workers), *workers)
    # Whatever the snippet sends before the work is on its way by then.
    assert stage.stays(lambda: "transcode fox" not in done(*workers), 0.5, no_longer=True)
    killed, other = sorted(workers, key=lambda worker: "transcode fox" not in worker.taken)
    other.release()
    killed.kill()
    if not stage.holds:
        assert stage.happens(lambda: "notify owl" in done(*workers), other)
        assert stage.stays(
            lambda: not only("fox", happened(other)), stage.redelivery, no_longer=True
        )
        workers.append(stage.spawn("work", worker=WORKERS[workers.index(killed)]))
    # Its key has been worked off, and the other one.
    assert stage.happens(lambda: {"notify fox", "notify owl"} <= {*done(*workers)}, *workers)
    # Each process tells its own events: those of the other one may be read later.
    assert stage.in_time(lambda: {*of("fox"), *of("owl")} <= {*done(*workers)}, *workers), SKIPPED
    twice = ("taken", "transcode fox")
    expected = in_turn("fox")
    expected.insert(expected.index(twice), twice)
    assert only("fox", happened(*workers)) == expected
    assert list(dict.fromkeys(task for task in done(*workers) if "owl" in task)) == of("owl")
    # It may have been at a task of the other key, too.
    owls = Counter(task for what, task in only("owl", happened(*workers)) if what == "taken")
    held = [task for task in killed.taken if "owl" in task][-1:]
    assert owls == Counter(of("owl")) or owls == Counter([*of("owl"), *held])


@claim(
    "While a task hangs, the other keys of its partition wait.",
    seen=PASSED,
    minibroker=holds("async with turns[queue]:", "if True:"),
    rabbitmq=holds('"x-single-active-consumer": True', '"x-single-active-consumer": False'),
    kafka=holds("CHANNEL, partitions=partitions)", "CHANNEL, partitions=partitions + 1)"),
    nats=holds("max_ack_pending=1,", "max_ack_pending=100,"),
    redis=holds(
        'redis.set(f"{CHANNEL}:partitions", partitions)',
        'redis.set(f"{CHANNEL}:partitions", partitions + 1)',
    ),
    mqtt=holds(
        "await handle(task)",
        "asyncio.ensure_future(handle(task))",
    ),
    postgresql=differs("Only the key of the task waits: it is a partition of its own."),
)
def test_keys_of_one_partition_wait_for_each_other(stage: Stage) -> None:
    stage.call("declare")
    workers = at_work(stage, "fox", both=stage.key not in ONE_HAS_ALL or stage.without)
    # By every hash, fox and hawk are in one of two partitions, and in different ones of three.
    stage.call("submit", tasks=tasks("fox", "hawk", "owl"))
    assert stage.happens(
        lambda: "upload fox" in begun(workers) and "notify owl" in done(*workers), *workers
    )
    if not stage.holds:
        assert stage.happens(lambda: "notify hawk" in done(*workers), *workers)
        assert only("fox", happened(*workers)) == [("taken", "upload fox")]
        return
    assert stage.stays(lambda: not only("hawk", happened(*workers)), 0.5), PASSED
    for worker in workers:
        worker.release()
    assert stage.happens(lambda: "notify hawk" in done(*workers), *workers)


@claim(
    "A partition that is added takes keys from the others, and their new tasks overtake the old.",
    seen=IN_ORDER,
    minibroker=holds("crc32(key.encode()) % partitions", "0 * partitions"),
    rabbitmq=holds("crc32(key.encode()) % len(names)", "0"),
    kafka=holds("key=key.encode()", "partition=0"),
    nats=holds("partition({partitions},1)", "partition(1,1)"),
    redis=holds("crc32(key.encode()) % partitions", "0"),
    mqtt=holds("crc32(key.encode()) % partitions", "0"),
    postgresql=differs("There is none to add: each key is a partition of its own."),
)
def test_adding_a_partition_breaks_the_order(stage: Stage) -> None:
    steps = ("upload", "transcode")
    stage.call("declare", partitions=1)
    stage.call("submit", tasks=tasks(*KEYS, steps=steps[:1]))
    stage.call("declare", partitions=2)
    stage.call("submit", tasks=tasks(*KEYS, steps=steps[1:]))
    # On Kafka, the second would wait for the first, which holds.
    names = WORKERS[:1] if stage.key == "kafka" else WORKERS
    workers = [stage.spawn("work", worker=name, mode="hold", only="upload ant") for name in names]
    assert stage.happens(lambda: "upload ant" in begun(workers), *workers)
    if not stage.holds:
        others = KEYS[1:]
        assert stage.happens(lambda: len(done(*workers)) == 2 * len(others), *workers)
        for key in others:
            assert only(key, happened(*workers)) == in_turn(key, steps=steps)
        return
    # What is in the new partition, if anything is, need not wait for the oldest task.
    stage.in_time(lambda: bool(done(*workers)), *workers)
    for worker in workers:
        worker.release()
    assert stage.happens(lambda: len(done(*workers)) == 2 * len(KEYS), *workers)
    ended = done(*workers)
    overtaken = [key for key in KEYS if [task for task in ended if key in task] != of(key, steps)]
    assert overtaken, IN_ORDER
    assert len(overtaken) < len(KEYS)


@pytest.mark.parametrize(
    "key",
    [pytest.param(k, marks=pytest.mark.broker(k)) for k in ("rabbitmq", "kafka", "nats", "redis")],
)
def test_who_reads_a_partition_that_is_added(key: str, server: Server, tmp_path: Path) -> None:
    """On Kafka the workers that run find it; elsewhere they have counted when they began."""
    with Stage.of("patterns/partitioned_consumers", key, server, tmp_path) as stage:
        stage.call("declare", partitions=1)
        workers = [stage.spawn("work", worker="A")]
        stage.call("submit", tasks=tasks(*KEYS, steps=("upload",)))
        assert stage.happens(lambda: len(done(*workers)) == len(KEYS), *workers)
        stage.call("declare", partitions=2)
        stage.call("submit", tasks=tasks(*KEYS, steps=("transcode",)))
        if key != "kafka":
            assert stage.stays(lambda: len(done(*workers)) < 2 * len(KEYS), 3)
            workers.append(stage.spawn("work", worker="B"))
        assert stage.happens(lambda: len(done(*workers)) == 2 * len(KEYS), *workers)


@pytest.mark.broker("nats")
def test_a_key_of_two_tokens_is_refused(server: Server, tmp_path: Path) -> None:
    with Stage.of("patterns/partitioned_consumers", "nats", server, tmp_path) as stage:
        stage.call("declare")
        publisher = stage.spawn("submit", tasks=[("fox.mp4", "upload fox")])
        assert stage.happens(lambda: publisher.ended, publisher)
        assert "NoStreamResponse" in publisher.error
