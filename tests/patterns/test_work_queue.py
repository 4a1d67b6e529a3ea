"""Work queue: what it promises, on every broker."""

from __future__ import annotations

from functools import partial

from tests.brokers.kafka import Kafka
from tests.brokers.rabbitmq import Rabbitmq
from tests.brokers.server import wait_until
from tests.patterns.claims import claim, differs, holds
from tests.patterns.stage import Stage, everything

TASKS = [
    f"transcode {name}.mp4" for name in ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")
]


#: What makes the snippet for PostgreSQL count the deliveries of a task in its row.
COUNTING = [
    ("body text NOT NULL)", "body text NOT NULL, deliveries int DEFAULT 0)"),
    (
        "SELECT id, body FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        "UPDATE task SET deliveries = deliveries + 1 WHERE id = (\n"
        "SELECT id FROM task ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)\n"
        "RETURNING id, body, deliveries",
    ),
    ("db, (number, body) = held", "db, (number, body, delivery) = held"),
    ("await handle(body, None)", "await handle(body, delivery)"),
]

#: A prefetch that does not hold up a worker which acknowledges nothing, where the broker has one.
ROOM = {"minibroker": 50, "rabbitmq": 50, "mqtt": 50}

TWICE = "A task that was done is done again."
LEFT = "No other worker gets the task that the killed worker held."
LOST_HERE = "The task is gone when its worker is back."
TAKEN = "Another worker gets the task while the first is busy with it."
JOINED = "The worker that joins gets tasks before the busy one is done."
FIRST = "The second delivery of a task says that it is the first."
HOARDED = "The busy worker holds tasks that the other could do."
BEGUN = "The busy worker begins its other tasks, too."
COPIED = "Each worker gets every task."
GONE = "Tasks that the broker had confirmed are gone."


@claim(
    "With two workers and no faults, each task is done exactly once.",
    promise=True,
    seen=TWICE,
    minibroker=holds("delivery.ack()", "pass"),
    rabbitmq=holds("await message.ack()", "pass"),
    kafka=holds("await consumer.commit(record)", "pass"),
    nats=holds("await message.ack_sync(SECONDS)", "pass"),
    redis=holds("await queue.settle(number)", "pass"),
    mqtt=holds("session.ack(message)", "pass"),
    postgresql=holds(
        "DELETE FROM task WHERE id = %s",
        "UPDATE task SET id = DEFAULT WHERE id = %s",
        with_help="a table, and `SKIP LOCKED`",
    ),
)
def test_each_task_is_done_once(stage: Stage) -> None:
    stage.call("declare")
    room = ROOM.get(stage.key, 1)
    workers = [stage.spawn("work", worker=name, prefetch=room) for name in "AB"]
    assert stage.work_is_shared_by(*workers)
    stage.call("submit", tasks=TASKS)
    assert stage.happens(lambda: set(everything("done", workers)) == {*TASKS}, *workers)
    # Who takes the next task has acknowledged the one before: no kill comes in between.
    assert stage.work_is_shared_by(*workers)
    # Whatever was not acknowledged would come again to the next workers.
    for worker in workers:
        worker.kill()
    later = [stage.spawn("work", worker=name, prefetch=room) for name in "AB"]
    assert stage.work_is_shared_by(*later)
    everybody = [*workers, *later]
    assert stage.stays(lambda: everything("taken", everybody) == TASKS, stage.redelivery), TWICE


@claim(
    "A task that a worker holds when it is killed goes to another worker.",
    seen=LEFT,
    minibroker=holds(
        "await handle(delivery.message.body, delivery.number)",
        "delivery.ack(); await handle(delivery.message.body, delivery.number); continue",
    ),
    rabbitmq=holds(
        "await handle(task, failed + 1)",
        "await message.ack(); await handle(task, failed + 1); continue",
    ),
    kafka=holds("await handle(", "await consumer.commit(record); await handle("),
    nats=holds(
        "await handle(text(message), delivery)",
        "await message.ack_sync(); await handle(text(message), delivery);"
        " held.remove(message); continue",
    ),
    redis=holds(
        "self.start, held, _ = await self.redis.xautoclaim(\n"
        "            self.stream, self.group, self.name, self.lease, self.start, count\n"
        "        )",
        "held: Any = []",
        says="Redis redelivers nothing by itself: the other worker claims the task.",
    ),
    mqtt=differs(
        "The task waits for the same worker to return; no other gets it.",
        "await handle(task, delivery)\n            session.ack(message)",
        "session.ack(message)\n            await handle(task, delivery)",
        seen=LOST_HERE,
    ),
    postgresql=holds(
        "await handle(body, None)",
        'await db.execute("DELETE FROM task WHERE id = %s", [number]); await db.commit();'
        " await handle(body, None)",
    ),
)
def test_a_killed_workers_task_goes_to_another(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS)
    killed = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: bool(killed.taken), killed)
    held = killed.taken[0]
    # Whatever the snippet sends before the work is on its way by then.
    assert stage.stays(lambda: not killed.done, 1.5 if stage.without else 0.3, no_longer=True)
    killed.kill()
    other = stage.spawn("work", worker="B")
    if stage.holds:
        wait_until(lambda: len({*other.done} - {held}) == len(TASKS) - 1, "B to do the rest")
        assert stage.in_time(lambda: held in other.done, other), LEFT
        return
    assert stage.happens(lambda: bool(other.done), other)
    assert stage.stays(lambda: held not in other.taken, stage.redelivery, no_longer=True)
    returned = stage.spawn("work", worker="A")
    rest = {*TASKS} - {held}
    assert stage.happens(lambda: rest <= {*other.done, *returned.done}, other, returned)
    assert stage.in_time(lambda: held in returned.done, returned), LOST_HERE


@claim(
    "While a worker is busy with a task, no other worker gets it.",
    seen=TAKEN,
    minibroker=holds(
        "await handle(delivery.message.body, delivery.number)\n            delivery.ack()",
        "consumer.prefetch = 0\n            delivery.nack()\n"
        "            await handle(delivery.message.body, delivery.number)",
    ),
    rabbitmq=holds(
        "await handle(task, failed + 1)",
        "await message.nack(); await messages.close(); await handle(task, failed + 1); return",
    ),
    kafka=holds(
        "async with lock:",
        "if True:",
        says="A worker that joins gets nothing at all until the task is done.",
        seen=JOINED,
    ),
    nats=holds("await message.in_progress()", "pass", says="Because the worker renews its lease."),
    redis=holds(
        "if await self.delivery(number):",
        "if False:",
        says="Because the worker renews its lease.",
    ),
    mqtt=holds('"$share/workers/transcode"', '"transcode"'),
    postgresql=holds("LIMIT 1 FOR UPDATE SKIP LOCKED", "LIMIT 1"),
)
def test_a_long_task_stays_with_its_worker(stage: Stage) -> None:
    stage.call("declare")
    stage.call("submit", tasks=TASKS)
    busy = stage.spawn("work", worker="A", mode="hold")
    assert stage.happens(lambda: bool(busy.taken), busy)
    held = busy.taken[0]
    other = stage.spawn("work", worker="B")
    if stage.key == "kafka":
        assert stage.stays(lambda: not other.taken, stage.redelivery), JOINED
        return
    assert stage.happens(lambda: bool(other.done), other)
    assert stage.stays(lambda: held not in other.taken, stage.redelivery), TAKEN


@claim(
    "The second delivery of a task says that it is the second.",
    seen=FIRST,
    minibroker=holds("delivery.message.body, delivery.number", "delivery.message.body, 1"),
    rabbitmq=holds(
        'QUEUE, durable=True, arguments={"x-queue-type": "quorum"}',
        'QUEUE, durable=True, arguments={"x-queue-type": "classic"}',
    ),
    kafka=differs("Kafka counts no deliveries; it knows only how far the group has come."),
    nats=holds("delivery = message.metadata.num_delivered", "delivery = 1"),
    redis=holds('int(mine[0]["times_delivered"])', "1"),
    mqtt=holds(
        "delivery = 2 if message.dup else 1",
        "delivery = 1",
        says="A flag (DUP), not a count.",
    ),
    postgresql=differs("A crash rolls back its transaction, and a counter with it."),
)
def test_a_redelivery_says_so(stage: Stage) -> None:
    if stage.key == "postgresql":
        for text, counting in COUNTING:
            stage.replace(text, counting)
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
    again = second.deliveries[second.taken.index(held)]
    if stage.key == "kafka":
        assert first.deliveries == [None]
        assert again is None
        server = stage.server
        assert isinstance(server, Kafka)
        # Two deliveries, one task: all that is kept is the place behind it.
        assert stage.happens(lambda: server.committed("transcoders") == [(1, "")], second)
        return
    assert first.deliveries == [1]
    if stage.holds:
        assert again == 2, FIRST
    else:
        assert again == 1


@claim(
    "A busy worker holds no more tasks than its prefetch limit; the others get the rest.",
    seen=HOARDED,
    minibroker=holds(
        "BROKER.consume(QUEUE, worker, prefetch)", "BROKER.consume(QUEUE, worker, 100)"
    ),
    rabbitmq=holds("await channel.set_qos(prefetch_count=prefetch)", "pass"),
    kafka=differs(
        "There is no prefetch limit: a busy worker keeps every task of its partition waiting.",
        'await handle(body.decode(errors="surrogateescape"), None)',
        'asyncio.ensure_future(handle(body.decode(errors="surrogateescape"), None))',
        seen=BEGUN,
    ),
    nats=holds("batch = min(prefetch, limit - done) if limit else prefetch", "batch = 100"),
    redis=holds("count = min(prefetch, limit - done) if limit else prefetch", "count = 100"),
    mqtt=differs(
        "Mosquitto deals the tasks out in turn, whatever the limit: a busy worker's share waits in"
        " its session.",
        '"$share/workers/transcode"',
        '"transcode"',
        seen=COPIED,
    ),
    postgresql=holds("for _ in range(prefetch):", "for _ in range(8):"),
)
def test_a_busy_worker_holds_no_more_than_its_prefetch(stage: Stage) -> None:
    stage.call("declare")
    if stage.holds:
        stage.call("submit", tasks=TASKS)
        busy = stage.spawn("work", worker="A", prefetch=2, mode="hold")
        assert stage.happens(lambda: bool(busy.taken), busy)
        free = stage.spawn("work", worker="B", prefetch=2)
        assert stage.reached(free)
    else:
        busy = stage.spawn("work", worker="A", prefetch=2, mode="hold")
        free = stage.spawn("work", worker="B", prefetch=2)
        assert stage.work_is_shared_by(busy, free)
        stage.call("submit", tasks=TASKS)
    expected = len(TASKS) - 2 if stage.holds else len(TASKS) // 2
    assert stage.happens(lambda: bool(busy.taken), busy)
    assert stage.in_time(lambda: len(free.done) >= expected, busy, free), HOARDED
    assert stage.stays(lambda: len(free.done) == expected, 0.5), COPIED
    assert stage.stays(lambda: len(busy.taken) == 1, 0.5), BEGUN


@claim(
    "A task that the broker has confirmed is there after the broker is killed and restarted.",
    seen=GONE,
    minibroker=differs("It lives in its process's memory: nothing is there."),
    rabbitmq=holds(
        'QUEUE, durable=True, arguments={"x-queue-type": "quorum"}', "QUEUE, durable=False"
    ),
    kafka=holds('acks="all", enable_idempotence=True', "acks=0"),
    nats=holds("storage=StorageType.FILE,", "storage=StorageType.MEMORY,"),
    redis=holds(
        "requests.waitaof(1, 0, timeout=FSYNC)\n    *_, (fsynced, _) = await requests.execute()\n",
        "await requests.execute()\n    fsynced = 1\n",
        says="Only because the snippet waits for the append-only file; without one it confirms"
        " nothing.",
    ),
    mqtt=differs(
        "After a clean stop it is there; after a kill everything since the last save is lost.",
        "body, 1, retain, properties",
        "body, 0, retain, properties",
    ),
    postgresql=holds("CREATE TABLE IF NOT EXISTS task", "CREATE UNLOGGED TABLE IF NOT EXISTS task"),
)
def test_confirmed_tasks_survive_the_broker(stage: Stage) -> None:
    first, second = TASKS[:4], TASKS[4:]
    stage.call("declare")
    if isinstance(stage.server, Rabbitmq):
        stage.server.write_down_queues()
        stage.call("declare")
    stage.call("submit", tasks=first)
    if stage.key == "minibroker":
        stage.kill_processes()
        stage.call("declare")
        worker = stage.spawn("work", worker="A")
        assert stage.work_is_shared_by(worker)
        assert not worker.taken
        return
    if stage.key == "mqtt":
        assert stage.server
        stage.server.stop()
        stage.server.start()
        # Mosquitto keeps the sessions, but not what they share: without this, submit() raises
        # until the workers have subscribed again.
        stage.call("declare")
        workers = [stage.spawn("work", worker=name) for name in "AB"]
        assert all(stage.reached(worker) for worker in workers)
        assert stage.in_time(lambda: everything("done", workers) == first, *workers), GONE
        for worker in workers:
            worker.kill()
        stage.call("submit", tasks=second)
        stage.server.kill()
        stage.server.start()
        stage.call("declare")
        workers = [stage.spawn("work", worker=name) for name in "AB"]
        # A session hands out in order: what comes now comes after all that was there.
        assert stage.work_is_shared_by(*workers)
        assert not set(second) & set(everything("taken", workers))
        return
    server = stage.server
    assert server
    publisher = stage.spawn("submit", mode="halfway", tasks=second)
    assert stage.happens(lambda: publisher.halfway, publisher)
    server.stop_storing()
    publisher.go_on()
    confirmed = first if stage.stays(lambda: not publisher.returned, 1) else TASKS
    server.kill()
    publisher.kill()
    server.start()
    stage.call("declare")
    workers = [stage.spawn("work", worker=name) for name in "AB"]
    assert stage.work_is_shared_by(*workers)
    done = partial(everything, "done", workers)
    assert stage.in_time(lambda: {*confirmed} <= {*done()}, *workers), GONE
