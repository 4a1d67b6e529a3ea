# ---
# description: Confirms one by one, in batches, in flight and not at all, with and without fsync, measured on six brokers and shown as ratios within each.
# needs: [../data/what_safety_costs.json]
# keywords: "benchmark, throughput, latency, publisher confirms, fsync, acks, performance, durability, speed, how fast, messages per second"
# ---

# %% [markdown]
# # What safety costs
#
# After the match everybody uploads. A [relay](../patterns/transactional-outbox.md) reads the finished uploads and publishes one task for each. It waits for the broker's
# [confirm](../patterns/work-queue.md) before it takes the next, and falls behind. One engineer wants to switch off *fsync*, the call that puts written data on the disk, another wants to stop waiting for confirms.
# Either change would make the relay faster, and either would lose videos some day. What does each bring, and is there a way that gives up nothing?
#
# ## The record
#
# The numbers come from real servers, all measured in one run of one program:
#
# ```sh
# make benchmark
# ```
#
# The program publishes to an empty queue in each of the settings below, in rounds. Each round goes through a broker's settings in another order, so that a
# disturbance doesn't hit the same one each time. It checks that the broker holds every message that it confirmed. The code is in
# [tests/benchmarks](https://github.com/message-brokers/handbook/tree/main/tests/benchmarks), a file for each broker.

# %%
import json
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

places = [Path("docs/data/what_safety_costs.json"), Path("what_safety_costs.json")]
place = next(one for one in places if one.exists())
record: dict[str, Any] = json.loads(place.read_text())
machine, brokers = record["machine"], record["brokers"]

print(f"{machine['system']}, {machine['cpus']} CPUs")
print(f"{machine['disk']} disk, {machine['file_system']}")
print(f"a sync: {machine['fdatasync_ms']} ms")
print(f"{record['message_bytes']} bytes a message, {record['rounds']} rounds")
assert record["window"] == 50

# %% [markdown]
# ## Four ways to publish
#
# - **One by one**: wait for each confirm before the next message.
# - **Batches of 50**: publish 50, wait until all are confirmed, then the next 50.
# - **50 in flight**: publish as long as fewer than 50 confirms are missing. Redis and PostgreSQL answer a connection in order, so there it takes 50 connections.
# - **No confirm**: hand the message over and go on. The clock stops once the broker has taken in the last one.
#
# Each plot is of one broker. 1 is that broker's safest setting, one by one. A mark is the median of the rounds, and half of them lie within its bar.
# **Don't compare brokers with each other.** A confirm means something else on each, and what you see is also the client, written in Python, on two CPUs
# that it shares with the server, over loopback, on one disk and without replicas. Such a race has no winner that you could rely on. The ratios *within* a broker answer
# the question: the client, the disk and the machine are the same on both sides.


# %%
ONE, BATCH, FLIGHT, NONE = ("one by one", "batches of 50", "50 in flight", "no confirm")


def ratios(key: str, setting: dict[str, Any], what: str = "rate") -> list[float]:
    """Compare each round with the same round of the safest, one by one."""
    safest = brokers[key]["settings"][0][what]
    return [one / base for one, base in zip(setting[what], safest, strict=True)]


def times(key: str, kept: str, way: str, what: str = "rate") -> float:
    """Return the median ratio of the one setting whose name has `kept`."""
    (setting,) = (
        one
        for one in brokers[key]["settings"]
        if kept in one["kept"] and one["way"] == way
    )
    return median(ratios(key, setting, what))


def draw(key: str) -> None:
    """Plot a row for each way, a mark for each thing a confirm can mean."""
    settings = brokers[key]["settings"]
    ways = [
        way
        for way in (ONE, BATCH, FLIGHT, NONE)
        if way in {one["way"] for one in settings}
    ]
    kinds = list(dict.fromkeys(one["kept"] for one in settings))
    fig, ax = plt.subplots(figsize=(5.3, 1.2 + 0.5 * len(ways) + 0.27 * len(kinds)))
    for number, kept in enumerate(kinds):
        same = [one for one in settings if one["kept"] == kept]
        shift = 0.17 * (number - len(kinds) / 2 + 0.5)
        rows = [ways.index(one["way"]) + shift for one in same]
        quarters = (quantiles(ratios(key, one), n=4) for one in same)
        low, middle, high = zip(*quarters, strict=True)
        ax.plot(middle, rows, "os^Dv"[number], color=f"C{number}", label=kept)
        ax.hlines(rows, low, high, color=f"C{number}")
    ax.axvline(1, color="0.5", linestyle=":")
    ax.set(xscale="log", xlabel="rate ÷ that of the safest, one by one")
    ax.set_title(f"{brokers[key]['server']}, {brokers[key]['client']}")
    left, right = ax.get_xlim()
    ax.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if right < 1000 * left else (1,))
    )
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_yticks(range(len(ways)), ways)
    ax.set_ylim(len(ways) - 0.5, -0.5)
    fig.legend(loc="outside lower center")
    said = (
        f"{one['kept']}, {one['way']}: {median(ratios(key, one)):.2g}"
        for one in settings
    )
    fig.set_label(f"Rate, as a multiple of the safest, one by one. {'; '.join(said)}.")


# %% [markdown]
# ### RabbitMQ
#
# A quorum queue confirms when a majority of its replicas has written the message and fsynced it. A classic queue never fsyncs before it confirms, not even a persistent message.
# For a transient one it doesn't wait for the write either.[^rabbit] With 50 in flight, a weaker queue adds less than the window did.

# %%
draw("rabbitmq")
shared = times("rabbitmq", "quorum", FLIGHT)
assert shared > 1.5
assert times("rabbitmq", "transient", FLIGHT) / shared < shared
assert times("rabbitmq", "quorum", NONE) < 3 * shared

# %% [markdown]
# ### Kafka
#
# `acks` says who has the record when the producer gets its answer: all in-sync replicas, the leader, or nobody.[^acks] Here there is one server, so `all` and `1` wait for the same one; on a cluster `all` also
# waits for the network. None of them waits for the disk. `flush.messages=1` does, and Kafka's makers advise against it and for replicas.[^flush]

# %%
draw("kafka")
assert times("kafka", "flush", BATCH) > 3
assert times("kafka", "acks=all:", FLIGHT) > 2 * times("kafka", "acks=1", ONE)

# %% [markdown]
# ### NATS
#
# By default JetStream fsyncs every two minutes, and confirms before. With `sync_interval: always` it fsyncs each message before it confirms it.[^nats]
# Each message pays for itself here: 50 in flight wait for 50 fsyncs, one after the other.

# %%
draw("nats")
assert 1.1 < times("nats", "always", FLIGHT) < times("nats", "2m", ONE)
assert times("nats", "2m", FLIGHT) > 4

# %% [markdown]
# ### Redis
#
# `appendfsync always` fsyncs before it answers, once for all commands that came together. `everysec` does so once a second, `no` leaves it to the operating system.[^redis] `WAITAOF` waits for the next fsync, whenever that comes.[^waitaof]
# One by one, with `everysec`, that is about one message a second: far slower than `always`, for the same promise. It pays only after a large batch.

# %%
draw("redis")
assert times("redis", "always", BATCH) > 3
assert times("redis", "WAITAOF", ONE) < 0.01

# %% [markdown]
# ### MQTT (Mosquitto)
#
# Here a confirm never means the disk. Mosquitto keeps sessions in memory and saves them every 30 minutes. With `autosave_on_changes` and
# an interval of 1 it writes *all* of them after each change,[^mosquitto] and the confirm goes out before that.[^loop] So it promises no more than before, and costs more, the longer the queues are.
#
# Batches are *slower* than one by one. That is not safety's price: Nagle's algorithm holds the last small packet back until the one before it is
# acknowledged. `set_tcp_nodelay true` switches it off.[^nodelay]

# %%
draw("mqtt")
assert times("mqtt", "QoS 2:", BATCH) < 0.7
assert times("mqtt", "nodelay", BATCH) > 1.2
assert times("mqtt", "saved", ONE) < 0.7

# %% [markdown]
# ### PostgreSQL
#
# With `synchronous_commit off`, a commit returns before its record is fsynced. A crash loses the last moments, and breaks nothing.[^postgresql] Fifty rows in one
# commit share one fsync. Fifty connections share some: who comes while an fsync is under way takes part in the next.[^group]

# %%
draw("postgresql")
assert times("postgresql", "commit on", BATCH) > 3
assert times("postgresql", "commit off", ONE) > 1.5

# %% [markdown]
# ## Share the wait before you drop the promise
#
# Here is, for each broker at its safest, what sharing the wait brings, against what a weaker promise brings to a program that goes on one by one. Mosquitto shares with `set_tcp_nodelay true`.

# %%
SAFEST = {key: one["settings"][0]["kept"] for key, one in brokers.items()}
SHARED = SAFEST | {"mqtt": "QoS 2, set_tcp_nodelay true"}
WEAKER = {
    "rabbitmq": "transient",
    "kafka": "acks=1",
    "nats": "2m",
    "redis": "everysec:",
    "mqtt": "QoS 1:",
    "postgresql": "commit off",
}
share = {
    key: max(times(key, kept, way) for way in (BATCH, FLIGHT))
    for key, kept in SHARED.items()
}
weaken = {key: times(key, weaker, ONE) for key, weaker in WEAKER.items()}
print(f"{'':12}{'share':>8}{'weaken':>8}")
for key in brokers:
    print(f"{key:12}{share[key]:8.1f}{weaken[key]:8.1f}")

together = [share[key] for key in ("rabbitmq", "kafka", "redis", "postgresql")]
assert all(share[key] > weaken[key] for key in brokers if key != "nats")
assert 1.1 < share["nats"] < min(together)
assert share["nats"] < 1.5 * weaken["nats"]

# %% [markdown]
# On RabbitMQ, Kafka, Redis and PostgreSQL, sharing brings more than a weaker promise, because the server puts many messages under one fsync, and every message keeps the strong promise.
# On MQTT, where no setting waits for the disk, it brings more as well. NATS is the exception: with `sync_interval: always` it fsyncs message by message, so sharing brings less than on the other four that fsync, and about as much as the weaker promise.
# There, put replicas into different zones, and keep `always` for what a power cut must not take.
#
# ## What it costs in time
#
# The wait of a single message gets longer: the broker is busy with the other 49. Here is what 50 in flight change, at the safest setting, as multiples of one by one.

# %%
print(f"{'':11}{'rate':>6}{'p50':>6}{'p99':>6}{'open':>6}")
for key, kept in SHARED.items():
    settings = brokers[key]["settings"]
    (flight,) = (
        one for one in settings if one["kept"] == kept and one["way"] == FLIGHT
    )
    pairs = zip(flight["rate"], flight["p50_ms"], strict=True)
    within = median(rate * wait / 1000 for rate, wait in pairs)
    rate, p50, p99 = (
        times(key, kept, FLIGHT, what) for what in ("rate", "p50_ms", "p99_ms")
    )
    print(f"{key:11}{rate:6.1f}{p50:6.1f}{p99:6.1f}{within:6.0f}")
    assert p50 > 2
    assert 20 < within < 60
    assert median(settings[0]["p50_ms"]) < 5

# %% [markdown]
# *p50* and *p99* are the wait for a confirm that half and 99 of 100 messages did not exceed. *open* is no multiple: it is messages a second times their median wait in seconds, and comes close to
# 50, the window, because of [Little's law](how_long_is_the_line.py). So a larger window raises the rate only until the server is busy. After that it adds waiting and nothing else. Begin with 50, double it while the
# rate still rises, and stop.
#
# ## Your disk
#
# What a sync takes on this disk is printed at the top. It is a virtual one: what it sits on may have a cache of its own. Measure yours with PostgreSQL's `pg_test_fsync`, which takes no running server. The rest is arithmetic.


# %%
def at_most(sync_ms: float, together: int = 1) -> int:
    """Return how many messages a second can have been fsynced before their confirm."""
    return round(together * 1000 / sync_ms)


for sync_ms in (0.1, 1, 5):
    alone, shared = at_most(sync_ms), at_most(sync_ms, 50)
    print(f"{sync_ms:3} ms: {alone:5} one by one, {shared:6} by 50")
assert at_most(5) == 200

# %% [markdown]
# With 5&nbsp;ms, no broker confirms more than 200 safe messages a second to a program that waits for each. The slower the disk, the more there is to gain by sharing.
#
# ## What to do
#
# 1. **Keep the confirms. Don't wait for them one by one.** Publish in batches where you have many messages in your hands, else with a window. A message is safe when *its* confirm is there, not when you have sent it:
#    remember those in flight, publish them again after a lost connection, and have [receivers that tolerate duplicates](../best-practices/idempotent-consumers.md).
# 2. **Measure before you weaken anything.** `make benchmark ONLY=redis` shows the ratios of your machine. If the rate is above your peak, you are done.
# 3. **Then weaken what can be repeated, not everything.** `synchronous_commit` can differ by transaction, the type of queue by queue, `acks` by producer. A thumbnail can be made again, an uploaded video can't.
# 4. **Keep replicas in any case.** A disk that fails takes fsynced messages, too. What a confirm means on each broker is on [work queue](../patterns/work-queue.md), the rest of the sizing on [capacity](../best-practices/capacity.md).
#
# **You need not bother** in one case: an upload takes seconds, and one confirm at the safest setting took a few milliseconds at most here. A service that publishes one message for each request of a user should wait for it, one by one.
#
# [^rabbit]: M. Kuratczyk, [*How Are The Messages Stored?*](https://www.rabbitmq.com/blog/2025/01/17/how-are-the-messages-stored), RabbitMQ blog, 2025-01-17, for RabbitMQ 4.0. [References](../references.md#kuratczyk-2025).
# [^acks]: Kafka 4.4, [Producer configs](https://kafka.apache.org/44/configuration/producer-configs/), `acks`. [References](../references.md#kafka-docs).
# [^flush]: Kafka 4.4, [Topic configs](https://kafka.apache.org/44/configuration/topic-configs/), `flush.messages`: "we recommend you not set this and use replication for durability". [References](../references.md#kafka-docs).
# [^nats]: NATS, [Replication and R=3](https://docs.nats.io/learn/clustering/replication-and-r3#syncing-data-to-disk), *Syncing data to disk*. [References](../references.md#nats-docs).
# [^redis]: Redis, [Persistence](https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/), and the comments in the `redis.conf` of 8.0.6. [References](../references.md#redis-docs).
# [^waitaof]: Redis, [`WAITAOF`](https://redis.io/docs/latest/commands/waitaof/). [References](../references.md#redis-docs).
# [^mosquitto]: Mosquitto, [mosquitto.conf](https://mosquitto.org/man/mosquitto-conf-5.html), `autosave_interval`, `autosave_on_changes`; read in the manual page of 2.1.2. [References](../references.md#mosquitto-conf).
# [^loop]: In Mosquitto's [`loop.c`](https://github.com/eclipse-mosquitto/mosquitto/blob/v2.1.2/src/loop.c), the save comes after the packets of all clients have been handled. [References](../references.md#mosquitto-changes).
# [^nodelay]: Mosquitto, [mosquitto.conf](https://mosquitto.org/man/mosquitto-conf-5.html), `set_tcp_nodelay`; read in the manual page of 2.1.2. [References](../references.md#mosquitto-conf).
# [^postgresql]: PostgreSQL 18, [Asynchronous commit](https://www.postgresql.org/docs/18/wal-async-commit.html). [References](../references.md#postgresql-docs).
# [^group]: PostgreSQL 18, [WAL configuration](https://www.postgresql.org/docs/18/wal-configuration.html), on `commit_delay`. [References](../references.md#postgresql-docs).
