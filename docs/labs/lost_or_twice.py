# ---
# description: A worker is killed between receive, work and acknowledge, at every step, on the
#   minibroker and on six real brokers. What became of each message, counted.
# needs: [../data/lost_or_twice.json]
# keywords: "at most once, at least once, exactly once, message loss, lost message, duplicate, acknowledge, kill, crash"
# ---

# %% [markdown]
# # Lost or twice
#
# Each view of a video adds one to its count, and the owner is paid by the count. A worker receives
# *viewed cat.mp4*, adds one, and acknowledges. One day the memory runs out, and the system kills
# the worker in the middle. **Is the view counted once, twice, or not at all?**
#
# The count depends on the step at which the worker dies, and on the order of two lines. Here it
# dies at every step: first on the [minibroker](../what-is-a-broker.md), then on six real brokers, in runs that a
# test recorded.

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
# Each worker has two things to do: count the view in a database, and acknowledge, so that the
# broker forgets the message. `step()` marks the places at which a worker can die. What it has committed
# by then stays in the database. What it has not acknowledged, the broker takes back.

# %%
Step = Callable[[str], None]  # raises CrashError, if the worker is to die at this step


class CrashError(Exception):
    """The worker is gone, and with it what it had in memory, and its connection."""


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
# The third worker is an [idempotent receiver](../patterns/idempotent-receiver.md). In the
# transaction that counts the view, it writes the message's id into a table, the inbox. An id that
# is there already means that the view is counted, too. This worker can also die inside its
# transaction.

# %%
TABLES = (
    "CREATE TABLE views (message TEXT); CREATE TABLE inbox (message TEXT PRIMARY KEY)"
)


def count_view(delivery: Delivery, db: sqlite3.Connection) -> None:
    with db:  # commits, or rolls back
        db.execute("INSERT INTO views VALUES (?)", [delivery.message.headers["id"]])


def idempotent(delivery: Delivery, db: sqlite3.Connection, step: Step) -> None:
    step("before both")
    with db:
        new = db.execute(
            "INSERT INTO inbox VALUES (?) ON CONFLICT DO NOTHING",
            [delivery.message.headers["id"]],
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
# `effects()` publishes a message for each entry of `deaths`, the step at which the worker dies of
# it, once. Then the next worker starts. The crash is an exception that ends the `with` block of
# the connection, and the minibroker puts back what was not acknowledged.


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
        with suppress(CrashError), broker.consume("views") as consumer:
            while not consumer.inbox.empty():
                delivery = consumer.inbox.get_nowait()
                worker(
                    delivery,
                    db,
                    partial(die_once, due, int(delivery.message.headers["id"])),
                )
    counted = dict(db.execute("SELECT message, count(*) FROM views GROUP BY message"))
    return [counted.get(str(number), 0) for number in range(len(deaths))]


def die_once(due: dict[int, str], number: int, step: str) -> None:
    if due.get(number) == step:
        del due[number]
        raise CrashError


# %%
STEPS = ["before both", "id written", "view written", "between", "after both"]
seen = {}
for worker in (acknowledge_first, acknowledge_after, idempotent):
    steps = STEPS if worker is idempotent else [STEPS[0], *STEPS[3:]]
    seen[worker.__name__] = dict(zip(steps, effects(worker, steps), strict=True))
    print(worker.__name__)
    for step, count in seen[worker.__name__].items():
        print(f"  killed {step + ':':14} counted {count}")

assert seen["acknowledge_first"] == {"before both": 1, "between": 0, "after both": 1}
assert seen["acknowledge_after"] == {"before both": 1, "between": 2, "after both": 1}
assert set(seen["idempotent"].values()) == {1}

# %% [markdown]
# *Acknowledge first* loses the view that it had in hand: it is **at-most-once**. *Acknowledge
# after* counts it twice: **at-least-once**. Each of these two workers makes two commits, one in the
# database and one at the broker, and between them is a gap. The order of the two commits decides
# what a crash in the gap does; no order closes it. The third worker has the gap as well and also
# gets the message again, and then it finds the id. **Once is at-least-once, with a receiver that
# recognises the duplicate.**
#
# ## How often is that?
#
# A worker does not die at a step but at a moment, and the longer a step, the more moments it has.
# Say that the acknowledgement takes 1 ms until the broker has it, and that the view is counted at
# the end of the work. The gap of the first worker is then the whole work, and that of the second
# is the acknowledgement.

# %%
ACKNOWLEDGE = 1  # ms
KILLS = 1_000  # messages, each with one worker that is killed while it has it
rng = random.Random(7)


def killed(worker: Worker, work: float) -> Counter[int]:
    """Return how many messages were counted 0, 1 and 2 times."""
    parts = (ACKNOWLEDGE, work) if worker is acknowledge_first else (work, ACKNOWLEDGE)
    return Counter(
        effects(worker, rng.choices(["before both", "between"], parts, k=KILLS))
    )


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
for shares, style, x, y, label in (
    (lost, "o-", 3.5, 68, "acknowledge first: lost"),
    (twice, "s--", 3.5, 27, "acknowledge after: twice"),
    ([0 for _ in WORK], "^:", 0.2, 4, "idempotent: neither"),
):
    ax.semilogx(WORK, [100 * share for share in shares], style)
    ax.text(x, y, label)
ax.xaxis.set_major_formatter("{x:g}")
ax.set(xlabel="work, ms (acknowledgement: 1 ms)", ylabel="kills that do harm, %")
fig.set_label(
    f"Of {KILLS} kills at random moments, acknowledge first loses {lost[0]:.0%} of the "
    f"messages if the work takes {WORK[0]} ms and {lost[-1]:.0%} if it takes "
    f"{WORK[-1]} ms. Acknowledge after repeats {twice[0]:.0%} and {twice[-1]:.0%}. The "
    "idempotent receiver does neither, ever."
)

# %% [markdown]
# The curves are *gap / (work + acknowledgement)*. At 100 ms of work, *acknowledge first* loses
# nearly every message whose worker is killed, and *acknowledge after* repeats one in a hundred.

# %%
repeated = ACKNOWLEDGE / (100 + ACKNOWLEDGE)
print(f"repeated: {repeated:.2%} of the kills, or 1 in {1 / repeated:.0f}")
print(f"in a year of 20 kills a day: {365 * 20 * repeated:.0f} views")
assert round(1 / repeated) == 101
assert round(365 * 20 * repeated) == 72

# %% [markdown]
# Twenty kills of busy workers a day are 72 views too many in a year. **A test that kills at random
# moments needs a hundred kills to see one.** So kill the worker at the step, on purpose.
#
# ## Six brokers, killed at every step
#
# [A test](https://github.com/message-brokers/handbook/blob/main/tests/labs/test_lost_or_twice.py)
# does this to real ones. Its worker is the snippet of the [idempotent
# receiver](../patterns/idempotent-receiver.md#the-code-for-your-broker), in a process of its own, with its views
# and its inbox in PostgreSQL. For *acknowledge after*, the test takes out the line that drops a
# duplicate; for *acknowledge first*, it also moves the acknowledgement up. One message for each
# step has the process end itself there, by `SIGKILL`. After an acknowledgement it first waits
# until the broker has it.

# %%
record = "lost_or_twice.json"  # beside the notebook, or in the handbook's repository
found = next(
    path for path in (Path(record), Path("docs/data", record)) if path.exists()
)
runs = json.loads(found.read_text())
WAYS = ["acknowledge first", "acknowledge after", "idempotent receiver"]
KILLED = ["before both", "between", "after both"]
labels, rows = [], []
print(f"{'':17}  first  after  idempotent")
for name, run in runs.items():
    labels.append("same, two commits" if "two commits" in name else run["server"])
    rows.append([run["effects"][way][step] for way in WAYS for step in KILLED])
    threes = [" ".join(map(str, rows[-1][n : n + 3])) for n in (0, 3, 6)]
    print(f"{labels[-1]:17}", *threes, sep="  ")

for label, row in zip(labels, rows, strict=True):
    one_commit = label.startswith("PostgreSQL")
    assert row == [1, 0, 1, 1, 1 if one_commit else 2, 1, 1, 1, 1], label
assert all(
    run["effects"][way]["no crash"] == 1 for run in runs.values() for way in WAYS
)

# %%
MARKS = {0: "oC2", 2: "sC1"}  # lost, and twice
columns = [number + number // 3 * 0.7 for number in range(9)]
fig, ax = plt.subplots(figsize=(5.3, 4.2))
for y, row in enumerate(rows):
    for x, times in zip(columns, row, strict=True):
        if times in MARKS:
            ax.plot(x, y, MARKS[times], markersize=20, fillstyle="none")
        ax.text(x, y, str(times), ha="center", va="center_baseline")
for x, way in zip(columns[1::3], WAYS, strict=True):
    ax.text(x, -0.8, way.replace(" ", "\n"), ha="center", va="bottom")
ax.set_xticks(columns, [step.split()[0] for step in KILLED] * 3, rotation=90)
ax.set_yticks(range(len(labels)), labels)
ax.set(xlim=(-0.7, columns[-1] + 0.7), ylim=(len(labels) - 0.4, -0.7), xlabel="killed")
ax.grid(visible=False)
fig.set_label(
    "How often each message was counted, for seven runs, three ways and three steps of "
    "the kill. Killed between the two commits, acknowledge first counts 0 in all runs; "
    "acknowledge after counts 2, and 1 only where PostgreSQL has one commit for both. "
    "All other numbers are 1."
)

# %% [markdown]
# **The brokers agree, number by number**, but for one: *acknowledge after* on PostgreSQL. There,
# the queue and the views are in one database, so the work and the acknowledgement are one commit,
# with no gap to die in. The last row is the same queue with two commits, as if the views were in
# another database: twice, like the others.
#
# What does differ is *when* the message comes again: at once when the connection ends, or after a
# time-out, [broker by
# broker](../patterns/work-queue.md#what-the-queue-is-and-who-notices-a-dead-worker).
#
# ## What to do
#
# 1. **Acknowledge after the work, and recognise the duplicate.** The [idempotent
#    receiver](../patterns/idempotent-receiver.md) has the code for seven brokers, and what to do
#    when the effect is a mail or a payment.
# 2. **Acknowledge first only where a loss is cheap**, such as one of many readings of a sensor.
#    Look for it in your settings: RabbitMQ's *automatic acknowledgement*[^auto] and Redis's
#    `NOACK`[^noack] acknowledge before your code has seen the message.
# 3. **Shut down cleanly.** A worker that finishes its message when it is told to stop does not die
#    in the gap; see [deployment](../best-practices/deployment.md). That makes kills rare. It
#    closes no gap.
# 4. **Kill your own worker between effect and acknowledgement**, in a test, and count.
#
# ## What this lab leaves out
#
# The broker stayed up, and the publisher published once. What a broker has confirmed may be lost
# [when it is killed
# itself](../patterns/work-queue.md#what-a-confirm-means-and-how-redelivery-is-counted). A
# publisher that tries again makes a duplicate that no acknowledgement prevents; the inbox drops
# that one as well. The [end-to-end argument](../what-is-a-broker.md#once-not-at-all-or-twice) says
# why no layer below the application can do it all.
#
# [^auto]: RabbitMQ 4.3, [Consumer acknowledgement modes](https://www.rabbitmq.com/docs/4.3/confirms#acknowledgement-modes): "immediately after it is sent". Not run here. [References](../references.md#rabbitmq-docs).
# [^noack]: Redis, [`XREADGROUP`](https://redis.io/docs/latest/commands/xreadgroup/): for cases where "the occasional message loss is acceptable". Not run here. [References](../references.md#redis-docs).
