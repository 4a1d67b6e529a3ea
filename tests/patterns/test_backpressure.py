"""Prefetch and backpressure: what it promises, on every broker."""

from __future__ import annotations

from tests.brokers.kafka import Kafka
from tests.brokers.mqtt import Mosquitto
from tests.brokers.server import Server
from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage

#: What the snippets allow in the queue, and more than that.
LIMIT = 5
TASKS = [f"transcode {letter}.mp4" for letter in "abcdefghijkl"]
LATER = "transcode z.mp4"

#: Seconds for which a producer tries again at a full queue, where the test wants it to give up.
BRIEFLY = 0.3

#: A quorum queue confirms one more than its limit before it refuses.
PLACES = {"rabbitmq": LIMIT + 1}

MORE = "Tasks beyond the limit are confirmed, and no worker has made room."
LOST = "Confirmed tasks are gone: the worker goes on with a later one."
HOARDED = "The hanging worker holds tasks that the other could do."
COPIED = "Each worker gets every task."
FREED = "The task that is held takes no place: one more is confirmed."


def places(stage: Stage) -> int:
    return PLACES.get(stage.key, LIMIT)


def fill(stage: Stage, tasks: list[str], least: int) -> int:
    """Submit until the queue is full; return how many tasks were confirmed.

    On MQTT a credit that comes late is taken for none: then there are still places.
    """
    if stage.key != "mqtt":
        return int(stage.call("submit", tasks=tasks, patience=BRIEFLY))
    confirmed = 0

    def is_full() -> bool:
        nonlocal confirmed
        confirmed += int(stage.call("submit", tasks=tasks[confirmed:], patience=2))
        return confirmed >= least

    assert stage.happens(is_full)
    return confirmed


def configure(server: Server | None, line: str) -> None:
    """Start a server again with one line more in its configuration, until it is emptied."""
    assert isinstance(server, Kafka | Mosquitto)
    server.stop()
    with server.configuration.open("a") as configuration:
        configuration.write(f"{line}\n")
    server.start()


@claim(
    "A full queue makes its producer wait: no more is confirmed until a worker has made room.",
    promise=True,
    seen=MORE,
    minibroker=holds(
        "if len(BROKER.find(QUEUE).ready) >= LIMIT:",
        "if False:",
        with_help="the producer counts what waits",
    ),
    rabbitmq=holds(
        '"x-max-length": LIMIT,',
        '"x-max-length": 100,',
        says="A quorum queue takes one more than its limit before it refuses.",
    ),
    kafka=holds(
        "while await unfinished(watcher.client) >= LIMIT:",
        "while False:",
        with_help="the producer reads the lag of the group first",
    ),
    nats=holds("max_msgs=LIMIT,", "max_msgs=100,"),
    redis=holds(
        "if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end\n",
        "",
        with_help="a script that counts before it adds",
    ),
    mqtt=holds(
        "for _ in range(LIMIT):",
        "for _ in range(100):",
        with_help="credits: the producer spends one for each task, a worker gives it back",
    ),
    postgresql=holds(
        "WHERE (SELECT count(*) FROM task) < %s",
        "WHERE %s > 0",
        with_help="an `INSERT` that counts first, under a lock",
    ),
)
def test_a_full_queue_makes_its_producer_wait(stage: Stage) -> None:
    stage.call("declare")
    confirmed = fill(stage, TASKS, len(TASKS) if stage.without else places(stage))
    assert confirmed <= places(stage), MORE
    assert confirmed == places(stage)
    producer = stage.begin("submit", tasks=TASKS[confirmed:])
    assert stage.stays(lambda: not producer.ended, 0.5)
    worker = stage.spawn("work", worker="A")
    assert stage.happens(lambda: producer.returned, producer, worker)
    assert producer.value == len(TASKS) - confirmed
    assert stage.happens(lambda: sorted(worker.done) == TASKS, worker)


@claim(
    "No confirmed task is lost when the producer is faster than the workers.",
    seen=LOST,
    minibroker=holds(
        "return False\n    return QUEUE in",
        "BROKER.find(QUEUE).ready.pop(0)\n    return QUEUE in",
    ),
    rabbitmq=holds('"x-overflow": "reject-publish",', '"x-overflow": "drop-head",'),
    kafka=differs(
        "Retention deletes what is too old, done or not; the lag falls, as if it had been done."
    ),
    nats=holds("discard=DiscardPolicy.NEW,", "discard=DiscardPolicy.OLD,"),
    redis=holds(
        "if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end\n"
        "return redis.call('XADD', KEYS[1], '*',",
        "return redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*',",
    ),
    mqtt=holds(
        "for _ in range(LIMIT):",
        "for _ in range(100):",
        says="Without the credits Mosquitto confirms what it drops.",
    ),
    postgresql=holds("return added.rowcount == 1", "return True"),
)
def test_no_confirmed_task_is_lost(stage: Stage) -> None:
    if stage.key == "kafka":
        stage.replace("7 * 24 * 3600 * 1000", "1000")
        configure(
            stage.server,
            "log.retention.check.interval.ms=100\nlog.initial.task.delay.ms=100",
        )
        stage.call("declare")
        # The producer goes on, although nobody has done anything.
        assert stage.call("submit", tasks=TASKS, patience=30) == len(TASKS)
        assert isinstance(stage.server, Kafka)
        assert stage.server.committed("transcoders") == []
        return
    if stage.key == "mqtt":
        configure(stage.server, f"max_queued_messages {LIMIT}")
    stage.call("declare")
    confirmed = TASKS[: fill(stage, TASKS, places(stage))]
    worker = stage.spawn("work", worker="A")
    # There is room, then, for another one. It comes after all that is there.
    assert stage.happens(lambda: len(worker.done) > 1, worker)
    stage.call("submit", tasks=[LATER])
    assert stage.happens(lambda: LATER in worker.done, worker)
    assert {*confirmed} <= {*worker.done}, LOST
    assert worker.done == [*confirmed, LATER]


@claim(
    "A worker that hangs holds as many tasks as its prefetch allows; the others do the rest.",
    seen=HOARDED,
    minibroker=holds(
        "BROKER.consume(QUEUE, worker, prefetch)", "BROKER.consume(QUEUE, worker, 100)"
    ),
    rabbitmq=holds("await channel.set_qos(prefetch_count=prefetch)", "pass"),
    kafka=differs("It holds its partitions, and all that is in them."),
    nats=holds("batch = min(prefetch, limit - done) if limit else prefetch", "batch = 100"),
    redis=holds("count = min(prefetch, limit - done) if limit else prefetch", "count = 100"),
    mqtt=differs(
        "Receive Maximum limits what is on its way; its share waits in its session.",
        '"$share/workers/transcode"',
        '"transcode"',
        seen=COPIED,
    ),
    postgresql=holds(
        "held = await db.execute(LOCK_NEXT, [most])", "held = await db.execute(LOCK_NEXT, [5])"
    ),
)
def test_a_hanging_worker_holds_its_prefetch(stage: Stage) -> None:
    # One place is left, for what shows that the other is at work.
    tasks = TASKS[: LIMIT - 1]
    stage.call("declare")
    if not stage.holds:
        hanging, free = (
            stage.spawn("work", worker=name, mode=mode)
            for name, mode in (("A", "hold"), ("B", "do"))
        )
        assert stage.work_is_shared_by(hanging, free)
        stage.call("submit", tasks=tasks)
        assert stage.happens(lambda: len(free.done) >= len(tasks) // 2, hanging, free)
        assert stage.stays(lambda: len(free.done) == len(tasks) // 2, 0.5), COPIED
        return
    stage.call("submit", tasks=tasks)
    hanging = stage.spawn("work", worker="A", prefetch=2, mode="hold")
    assert stage.happens(lambda: bool(hanging.taken), hanging)
    free = stage.spawn("work", worker="B", prefetch=2)
    assert stage.reached(free)
    assert stage.in_time(lambda: len(free.done) >= len(tasks) - 2, hanging, free), HOARDED
    assert stage.stays(lambda: len(free.done) == len(tasks) - 2, 0.5)
    hanging.release()
    assert stage.happens(lambda: sorted(free.done + hanging.done) == tasks, hanging, free)


@claim(
    "A task that a worker holds still takes a place in the queue.",
    seen=FREED,
    minibroker=differs("Only what waits counts: what workers hold comes on top."),
    rabbitmq=differs("Only what waits counts: what workers hold comes on top."),
    kafka=holds("await handle(", "await consumer.commit(record); await handle("),
    nats=holds(
        "await handle(text(held[0]))",
        "await held[0].ack_sync(); await handle(text(held[0]))",
    ),
    redis=holds(
        "await handle(",
        "await queue.settle(number); await handle(",
    ),
    mqtt=holds(
        "await handle(",
        "await session.publish(CREDIT); await handle(",
    ),
    postgresql=holds(
        "await handle(body)",
        'await db.execute("DELETE FROM task WHERE id = %s", [task]); await db.execute("COMMIT");'
        " await handle(body)",
    ),
)
def test_a_held_task_takes_a_place(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS[:1])
    busy = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: busy.taken == TASKS[:1], busy)
    held = 1
    expected = places(stage) - held if stage.holds else places(stage)
    confirmed = fill(stage, TASKS[1:], expected + stage.without)
    assert confirmed <= expected, FREED
    assert confirmed == expected
