# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lost or twice
#
# Each view of a video adds one to its count, and the owner is paid by the count. A worker receives *viewed cat.mp4*, adds one, and acknowledges. One day
# the machine takes the memory back, and the worker dies in the middle. **At which step may it die, so that the view is counted once?**
#
# The answer does not depend on the broker. It depends on the order of two lines. First we let the worker die at every step, on the
# [minibroker](../what-is-a-broker.md), then we look at what six real brokers did when we killed theirs with `SIGKILL`.

# %%
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from minibroker import Broker, Delivery

# %% [markdown]
# ## Three workers
#
# All three do the same: note the view in a database, and tell the broker that it can forget the message. `step()` marks each place at which a worker can die. What is
# in the database by then stays there; the broker takes the message back when the connection ends.

# %%
Step = Callable[[str], None]  # raises Crash, if the worker is to die at this step


class Crash(Exception):
    """The worker is gone: what it had in memory is lost, its connection is closed."""


def acknowledge_first(delivery: Delivery, db: sqlite3.Connection, step: Step) -> None:
    step("before both")
    delivery.ack()
    step("between")
    count_view(delivery, db)
    step("after both")


def acknowledge_after(delivery: Delivery, db: sqlite3.Connection, step: Step) -> None:
    step("before both")
    count_view(delivery, db)
    step("between")
    delivery.ack()
    step("after both")


# %% [markdown]
# The third worker is an [idempotent receiver](../patterns/idempotent-receiver.md). It writes the message's id into an *inbox*, in the transaction that counts the view. An id that is
# there already means that the view has been counted. It has two more steps at which it can die, inside the transaction.

# %%
TABLES = "CREATE TABLE views (message TEXT); CREATE TABLE inbox (message TEXT PRIMARY KEY)"


def count_view(delivery: Delivery, db: sqlite3.Connection) -> None:
    with db:  # commits, or rolls back
        db.execute("INSERT INTO views VALUES (?)", [delivery.message.headers["id"]])


def idempotent(delivery: Delivery, db: sqlite3.Connection, step: Step) -> None:
    step("before both")
    with db:
        new = db.execute(
            "INSERT INTO inbox VALUES (?) ON CONFLICT DO NOTHING", [delivery.message.headers["id"]]
        )
        step("id written")
        if new.rowcount:
            db.execute("INSERT INTO views VALUES (?)", [delivery.message.headers["id"]])
        step("view written")
    step("between")
    delivery.ack()
    step("after both")


# %% [markdown]
# ## Every step, one after the other
#
# `effects()` publishes a message for each entry of `deaths`, and the worker dies at that step of it, once. Then the next worker starts, as a supervisor would see to. The crash is an
# exception that leaves the connection; the minibroker puts back what nobody acknowledged.


# %%
Worker = Callable[[Delivery, sqlite3.Connection, Step], None]


def effects(worker: Worker, deaths: Sequence[str]) -> list[int]:
    """Return how often each message is counted."""
    broker, db, due = Broker(), sqlite3.connect(":memory:"), dict(enumerate(deaths))
    db.executescript(TABLES)
    broker.declare("views")
    for number in range(len(deaths)):
        broker.publish("views", "viewed cat.mp4", id=str(number))
    while broker.queues["views"].ready:
        with suppress(Crash), broker.consume("views") as consumer:
            while not consumer.inbox.empty():
                delivery = consumer.inbox.get_nowait()
                worker(delivery, db, partial(die_once, due, int(delivery.message.headers["id"])))
    counted = dict(db.execute("SELECT message, count(*) FROM views GROUP BY message"))
    return [counted.get(str(number), 0) for number in range(len(deaths))]


def die_once(due: dict[int, str], number: int, step: str) -> None:
    if due.get(number) == step:
        del due[number]
        raise Crash


# %%
STEPS = ["before both", "id written", "view written", "between", "after both"]
seen = {}
for worker in (acknowledge_first, acknowledge_after, idempotent):
    steps = STEPS if worker is idempotent else [STEPS[0], *STEPS[3:]]
    seen[worker.__name__] = dict(zip(steps, effects(worker, steps), strict=True))
    print(worker.__name__)
    for step, count in seen[worker.__name__].items():
        print(f"    killed {step + ':':14} counted {count} times")

assert seen["acknowledge_first"] == {"before both": 1, "between": 0, "after both": 1}
assert seen["acknowledge_after"] == {"before both": 1, "between": 2, "after both": 1}
assert set(seen["idempotent"].values()) == {1}

# %% [markdown]
# The first worker loses the view that it had in hand: this is **at-most-once**. The second counts it twice: **at-least-once**. Both have a gap between two commits, that of the database and that of the broker, and no
# third order exists. The third worker has the gap as well, and dies in it as the second does. The message comes again, and its id is there already. **Once is at-least-once and a receiver that
# recognises the repetition.**
#
# ## How often is that?
#
# A worker does not die at a step but at a moment. Say that the acknowledgement takes 1 ms until the broker has it. A kill falls into a step as often as the step is long: for the first worker,
# the gap is the work; for the second, the gap is the acknowledgement.

# %%
ACKNOWLEDGE, KILLS = 1, 1_000  # ms; messages whose worker is killed, at a random moment of each
rng = random.Random(7)


def killed(worker: Worker, work: float) -> Counter[int]:
    """Return how many messages were counted 0, 1 and 2 times."""
    parts = (ACKNOWLEDGE, work) if worker is acknowledge_first else (work, ACKNOWLEDGE)
    return Counter(effects(worker, rng.choices(["before both", "between"], parts, k=KILLS)))


WORK = [0.1, 0.3, 1, 3, 10, 30, 100]  # ms
fates = {
    worker: [killed(worker, work) for work in WORK]
    for worker in (acknowledge_first, acknowledge_after, idempotent)
}
lost = [fate[0] / KILLS for fate in fates[acknowledge_first]]
twice = [fate[2] / KILLS for fate in fates[acknowledge_after]]
for work, share_lost, share_twice in zip(WORK, lost, twice, strict=True):
    assert abs(share_lost - work / (work + ACKNOWLEDGE)) < 0.05
    assert abs(share_twice - ACKNOWLEDGE / (work + ACKNOWLEDGE)) < 0.05
assert all(fate[2] == 0 for fate in fates[acknowledge_first])  # never twice
assert all(fate[0] == 0 for fate in fates[acknowledge_after])  # never lost
assert all(fate[1] == KILLS for fate in fates[idempotent])

# %%
fig, ax = plt.subplots()
ax.semilogx(WORK, [100 * share for share in lost], "o-", label="acknowledge first: lost")
ax.semilogx(WORK, [100 * share for share in twice], "s--", label="acknowledge after: twice")
ax.semilogx(WORK, [0 for _ in WORK], "^:", label="idempotent: neither")
ax.set(xlabel="duration of the work, ms (acknowledgement: 1 ms)", ylabel="kills that do harm, %")
ax.legend()
fig.set_label(
    f"Of {KILLS} kills at random moments, acknowledge first loses {lost[0]:.0%} of the messages if "
    f"the work takes {WORK[0]} ms and {lost[-1]:.0%} if it takes {WORK[-1]} ms. Acknowledge after "
    f"repeats {twice[0]:.0%} and {twice[-1]:.0%}. The idempotent receiver does neither, ever."
)

# %% [markdown]
# The formula behind the lines is *gap ÷ (work + acknowledgement)*. With 100 ms of work, acknowledge first loses almost every message whose worker is killed, and acknowledge after repeats one in a hundred.
# Two hundred kills a day, by deployments without a clean shutdown or for want of memory, are then two views too many a day. A test that kills at random moments needs a hundred kills to see
# that once. So kill the worker on purpose, *at the step*.

# %%
repeated = ACKNOWLEDGE / (100 + ACKNOWLEDGE)
print(f"repeated per kill: {repeated:.1%}, of 200 kills: {200 * repeated:.1f}")
assert round(200 * repeated) == 2
assert round(1 / repeated) == 101

# %% [markdown]
# ## Six brokers, killed at every step
#
# [A test](https://github.com/message-brokers/handbook/blob/main/tests/labs/test_lost_or_twice.py) does the same to real ones. Its worker is the [idempotent receiver's snippet](../patterns/idempotent-receiver.md#the-code) in a process of its own.
# The test takes out the line that recognises a repetition, or moves the acknowledgement up, and puts a `SIGKILL` at each step. The views are rows in PostgreSQL.
# Before the kill *after* an acknowledgement, the worker makes sure that the broker has it.

# %%
places = [Path(folder, "lost_or_twice.json") for folder in (".", "../data", "docs/data")]
runs = json.loads(next(place for place in places if place.exists()).read_text())
WAYS = ["acknowledge first", "acknowledge after", "idempotent receiver"]
KILLED = ["before both", "between", "after both"]
counts = {
    name: [run["effects"][way][step] for way in WAYS for step in KILLED]
    for name, run in runs.items()
}
labels = [run["server"] + ", 2 commits" * name.endswith("two commits") for name, run in runs.items()]
for label, row in zip(labels, counts.values(), strict=True):
    print(f"{label:29}", *(" ".join(map(str, row[n : n + 3])) for n in (0, 3, 6)), sep="   ")

# %%
fig, ax = plt.subplots()
for y, row in enumerate(counts.values()):
    for x, count in enumerate(row):
        at = (x + 0.6 * (x // 3), y)
        if count != 1:
            ax.plot(*at, marker="s" if count else "o", markersize=17, color="C1" if count else "C3")
        ax.annotate(str(count), at, ha="center", va="center")
ax.set_yticks(range(len(labels)), labels)
ax.set_xticks(
    [x + 0.6 * (x // 3) for x in range(9)], ["before", "between", "after"] * 3, rotation=60
)
for group, way in enumerate(WAYS):
    ax.text(3.6 * group + 1, -1, way.replace(" ", "\n"), ha="center", va="bottom")
ax.set(xlim=(-0.7, 9.9), ylim=(len(labels) - 0.4, -0.7))
ax.grid(visible=False)
fig.set_label(
    "How often each message was counted, by server, way and the step of the kill. Killed between "
    "the two steps, acknowledge first counts 0 on all servers; acknowledge after counts 2, but 1 "
    "on PostgreSQL if work and acknowledgement are one commit. All other cells are 1."
)

# %%
for name, row in counts.items():
    one_commit = name == "postgresql"  # work and acknowledgement: there is no gap
    assert row == [1, 0, 1] + [1, 1 if one_commit else 2, 1] + [1, 1, 1], name
    assert all(run["effects"][way]["no crash"] == 1 for run in runs.values() for way in WAYS)

# %% [markdown]
# **The brokers agree, cell by cell.** Only one row is different: where queue and views are in one PostgreSQL, work and acknowledgement are one commit. There is no gap in which to die, and at-least-once counts once. The row below it is the same
# queue with two commits, as if the views were in another database: twice.
#
# What differs is *when* the message comes again: at once, when the connection ends, on RabbitMQ, PostgreSQL and Mosquitto; after a time-out on
# [NATS, Redis and Kafka](../patterns/work-queue.md#what-the-queue-is-and-who-notices-a-dead-worker).
#
# ## What to do
#
# 1. **Acknowledge after the work, and recognise the repetition.** The [idempotent receiver](../patterns/idempotent-receiver.md) has the code for seven brokers, and what to do when the effect is a mail or a payment.
# 2. **Acknowledge first only where a loss is cheap**: the next reading of a sensor, a cache that refills itself. Look for it in your client's defaults, under the names *auto-ack*, *no-ack*, `NOACK`, *QoS 0*, *auto-commit*.
# 3. **Shut down cleanly.** A worker that finishes its message when it is told to stop has no crash at all; see [deployment](../best-practices/deployment.md). It makes kills rare, and none of the numbers above zero.
# 4. **Test the gap.** Kill the worker between effect and acknowledgement, once, and count. This page's test does it on six brokers in the time of a coffee.
#
# ## What this lab leaves out
#
# The broker lived all the time, and the publisher published once. A broker that is killed can lose what it confirmed, see [what a confirm means](../patterns/work-queue.md#what-a-confirm-means-and-how-redelivery-is-counted); a publisher that tries
# again makes duplicates that no acknowledgement prevents, and the inbox catches those as well.
