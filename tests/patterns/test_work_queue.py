"""Work queue: what it promises, on every broker."""

from __future__ import annotations

from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage, everything

TASKS = [f"transcode {name}.mp4" for name in ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")]


@claim(
    "With two workers and no faults, each task is done exactly once.",
)
def test_each_task_is_done_once(stage: Stage, holds: bool) -> None:
    stage.call("declare")
    workers = [stage.spawn("work", worker=name) for name in "AB"]
    stage.work_is_shared_by(*workers)
    stage.call("submit", tasks=TASKS)
    assert stage.happens(lambda: everything("done", workers) == TASKS, *workers)
    assert all(worker.done for worker in workers), "both workers had a share"
    # Whatever was not acknowledged would come again to the next workers.
    for worker in workers:
        worker.kill()
    later = [stage.spawn("work", worker=name) for name in "AB"]
    stage.work_is_shared_by(*later)
    stage.call("submit", tasks=["transcode new.mp4"])
    assert stage.happens(lambda: "transcode new.mp4" in everything("done", later), *later)
    assert stage.stays(
        lambda: everything("taken", later) == ["transcode new.mp4"], stage.redelivery
    )


@claim(
    "A task that a worker holds when it is killed goes to another worker.",
)
def test_a_killed_workers_task_goes_to_another(stage: Stage, holds: bool) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS)
    killed = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: bool(killed.taken), killed)
    held = killed.taken[0]
    killed.kill()
    other = stage.spawn("work", worker="B")
    if holds:
        assert stage.happens(lambda: held in other.done, other)
        return
    assert stage.happens(lambda: bool(other.done), other)
    assert stage.stays(lambda: held not in other.taken, stage.redelivery)
    returned = stage.spawn("work", worker="A")
    assert stage.happens(lambda: held in returned.done, returned)


@claim(
    "The second delivery of a task says that it is the second.",
)
def test_a_redelivery_says_so(stage: Stage, holds: bool) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS[:1])
    if stage.key == "mqtt":
        stage.call("submit", tasks=TASKS[1:2])
    first = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: bool(first.taken), first)
    held = first.taken[0]
    first.kill()
    second = stage.spawn("work", worker="A")
    assert stage.happens(lambda: held in second.done, second)
    assert first.deliveries == [1 if holds else None]
    assert second.deliveries[second.taken.index(held)] == (2 if holds else None)


@claim(
    "A worker holds no more unacknowledged tasks than its prefetch limit; the others get the rest.",
)
def test_a_busy_worker_holds_no_more_than_its_prefetch(stage: Stage, holds: bool) -> None:
    stage.constants |= NO_LEASE_RUNS_OUT.get(stage.key, {})
    stage.call("declare")
    if holds:
        stage.call("submit", tasks=TASKS)
        busy = stage.spawn("work", worker="A", prefetch=2, mode="hold")
        assert stage.happens(lambda: bool(busy.taken), busy)
        free = stage.spawn("work", worker="B", prefetch=2)
    else:
        busy = stage.spawn("work", worker="A", prefetch=2, mode="hold")
        free = stage.spawn("work", worker="B", prefetch=2)
        stage.work_is_shared_by(busy, free)
        stage.call("submit", tasks=TASKS)
    expected = len(TASKS) - 2 if holds else len(TASKS) // 2
    assert stage.happens(lambda: len(free.done) >= expected, busy, free)
    assert stage.stays(lambda: len(free.done) == expected, 0.5)
    assert len(busy.taken) == 1


@claim(
    "A task that the broker has confirmed is there after the broker is killed and restarted.",
)
def test_confirmed_tasks_survive_the_broker(stage: Stage, holds: bool) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS[:4])
    confirmed = TASKS[:4]
    publisher = stage.spawn("submit", mode="halfway", tasks=TASKS[4:])
    assert stage.happens(lambda: publisher.halfway, publisher)
    assert stage.server
    stage.server.freeze()
    publisher.go_on()
    if not stage.stays(lambda: not publisher.returned, 1):
        confirmed = TASKS
    stage.server.kill()
    publisher.kill()
    stage.server.start()
    workers = [stage.spawn("work", worker=name) for name in "AB"]
    assert stage.happens(lambda: set(confirmed) <= set(everything("done", workers)), *workers)
