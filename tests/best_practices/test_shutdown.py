"""SIGTERM in the middle of a task: done once and not redelivered, thanks to the handler."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.brokers import Server
from tests.brokers.rabbitmq import Rabbitmq
from tests.patterns.stage import Actor, Stage

TASKS = ["transcode cat.mp4", "transcode dog.mp4"]
HANDLER = "loop.add_signal_handler(signal.SIGTERM, stop.set)"
NONE = "loop.add_signal_handler(signal.SIGHUP, stop.set)"
KEYS = ("rabbitmq", "nats")
#: A grace period that a test can wait for.
HURRY = {"rabbitmq": ("GRACE = 25", "GRACE = 1"), "nats": ("GRACE = 25.0", "GRACE = 0.5")}

#: A handler whose work can't be cancelled, as in `asyncio.to_thread`.
IN_A_THREAD = """

async def in_a_thread(handle, body, delivery):
    import sys
    import time

    def compute():
        time.sleep(2)
        print("the thread has ended", file=sys.stderr, flush=True)

    await handle(body, delivery)
    if delivery == 1:
        await asyncio.to_thread(compute)
"""

each = pytest.mark.parametrize(
    "key",
    [pytest.param(key, id=key, marks=pytest.mark.broker(key)) for key in KEYS],
)


def stage_of(key: str, server: Server | None, folder: Path) -> Stage:
    return Stage.of("best_practices/shutdown", key, server, folder)


def notice_crashes_soon(stage: Stage) -> None:
    """RabbitMQ sees a crash by the lost connection; on NATS it takes ack_wait."""
    if stage.key == "nats":
        stage.replace("ACK_WAIT = 60.0", "ACK_WAIT = 2.0")


def end_politely(actor: Actor) -> None:
    """Send SIGTERM to the actor's process, as an orchestrator does."""
    actor.process._process.send_signal(signal.SIGTERM)


@each
def test_the_held_task_is_finished_and_only_the_other_is_left(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    with stage_of(key, server, tmp_path) as stage:
        notice_crashes_soon(stage)
        stage.call("submit", tasks=TASKS)
        leaving = stage.spawn("work", mode="hold")
        assert stage.happens(lambda: leaving.taken == TASKS[:1], leaving)
        end_politely(leaving)
        leaving.release()
        assert stage.happens(lambda: leaving.returned, leaving)
        assert leaving.done == TASKS[:1]
        other = stage.spawn("work")
        assert stage.happens(lambda: other.done == TASKS[1:], other)
        assert stage.stays(lambda: other.taken == TASKS[1:], stage.redelivery)
        assert other.deliveries == [1]


@each
def test_without_the_handler_the_held_task_comes_again(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    with stage_of(key, server, tmp_path) as stage:
        notice_crashes_soon(stage)
        stage.replace(HANDLER, NONE)
        stage.call("submit", tasks=TASKS)
        leaving = stage.spawn("work", mode="hold")
        assert stage.happens(lambda: leaving.taken == TASKS[:1], leaving)
        end_politely(leaving)
        assert stage.happens(lambda: not leaving.process.alive)
        assert not leaving.done
        other = stage.spawn("work")
        assert stage.happens(lambda: sorted(other.done) == TASKS, other)
        assert dict(zip(other.taken, other.deliveries, strict=True))[TASKS[0]] == 2


@each
def test_a_task_that_outlasts_the_grace_period_goes_back_at_once(
    key: str, server: Server | None, tmp_path: Path
) -> None:
    with stage_of(key, server, tmp_path) as stage:
        stage.replace(*HURRY[key])
        stage.call("submit", tasks=TASKS[:1])
        leaving = stage.spawn("work", mode="hold")
        assert stage.happens(lambda: leaving.taken == TASKS[:1], leaving)
        end_politely(leaving)
        assert stage.happens(lambda: leaving.ended, leaving)
        assert not leaving.done
        other = stage.spawn("work")
        assert stage.happens(lambda: other.done == TASKS[:1], other)
        assert other.deliveries == [2]


@pytest.mark.broker("rabbitmq")
def test_a_handler_that_raises_ends_the_worker_and_the_task_goes_back(
    server: Server, tmp_path: Path
) -> None:
    with stage_of("rabbitmq", server, tmp_path) as stage:
        stage.call("submit", tasks=TASKS[:1])
        failing = stage.spawn("work", mode="fail")
        assert stage.happens(lambda: "told to fail" in failing.error, failing)
        other = stage.spawn("work")
        assert stage.happens(lambda: other.done == TASKS[:1], other)
        assert other.deliveries == [2]


@pytest.mark.broker("rabbitmq")
def test_a_body_that_is_no_text_does_not_stop_the_worker(server: Server, tmp_path: Path) -> None:
    with stage_of("rabbitmq", server, tmp_path) as stage:
        stage.replace("task.encode()", 'task.encode(errors="surrogateescape")')
        stage.call("submit", tasks=["\udcff", *TASKS])
        worker = stage.spawn("work")
        assert stage.happens(lambda: worker.done == ["\udcff", *TASKS], worker)


@pytest.mark.broker("rabbitmq")
def test_a_worker_whose_queue_is_deleted_says_so(server: Server, tmp_path: Path) -> None:
    assert isinstance(server, Rabbitmq)
    with stage_of("rabbitmq", server, tmp_path) as stage:
        stage.call("submit", tasks=TASKS[:1])
        worker = stage.spawn("work")
        assert stage.happens(lambda: worker.done == TASKS[:1], worker)
        server.ask("queues/%2F/transcode", "DELETE")
        assert stage.happens(lambda: "has cancelled a consumer" in worker.error, worker)


@pytest.mark.broker("nats")
def test_what_runs_in_a_thread_ends_before_another_worker_begins(
    server: Server, tmp_path: Path
) -> None:
    with stage_of("nats", server, tmp_path) as stage:
        stage.replace(*HURRY["nats"])
        stage.replace("handle(body, delivery)", "in_a_thread(handle, body, delivery)")
        with stage.snippet.open("a") as file:
            file.write(IN_A_THREAD)
        stage.call("submit", tasks=TASKS[:1])
        leaving = stage.spawn("work")
        assert stage.happens(lambda: leaving.taken == TASKS[:1], leaving)
        end_politely(leaving)
        other = stage.spawn("work")
        assert stage.happens(lambda: other.taken == TASKS[:1], other)
        assert "the thread has ended" in leaving.process.errors()
