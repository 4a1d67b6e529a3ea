# ---
# description: Why twelve partitions don't employ twelve workers when keys are unequal, which keys
#   move when there are more partitions, and what each way out costs.
# keywords: "hot key, hot partition, skew, hash, partition key, partitions, sharding, imbalance, how many partitions, consistent hashing"
# ---

# %% [markdown]
# # Keys and skew
#
# A thousand studios upload videos. The steps of a video have to be done in order, and so the
# studio was chosen as the key: a hash turns it into one of twelve partitions, and twelve workers
# read one each ([partitioned consumers](../patterns/partitioned-consumers.md)). A worker does ten
# tasks a second, and 72 come: the twelve should be busy for 60&nbsp;% of the time. Still, one
# partition is further behind with every minute. **How many workers do twelve partitions employ,
# and what do more partitions change?**

# %%
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator
from functools import cache
from hashlib import sha256
from itertools import accumulate, count
from math import gcd
from statistics import mean
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib.pyplot as plt
import simpy

STUDIOS = 1_000


def partition(key: str, partitions: int) -> int:
    return crc32(key.encode()) % partitions


# %% [markdown]
# CRC32 is the default of librdkafka, on which many of Kafka's clients rest; the Java client and
# aiokafka take murmur2
# ([sources](../patterns/partitioned-consumers.md#steps-of-a-video-come-out-of-order)). Any good
# hash shows what follows, and CRC32 comes with Python.
#
# ## One key bounds them all
#
# Studios are not equal. Popularity is often *Zipf-like*: the share of the studio of rank *r* is in
# proportion to `r ** -s`. In the requests of web proxies, the exponent *s* was found to vary from
# trace to trace.[^zipf] With *s* = 0 all studios are equal.
#
# A partition has one worker at a time, so the work is done when the hottest partition is. **The
# speed-up is at most 1 / the share of the hottest partition**, however many workers there are.
# *Which* studios are popular is luck, and so is who shares a partition with whom: the numbers are
# means of ten rankings.


# %%
def zipf(s: float) -> list[float]:
    """Return the share of each studio, by its rank."""
    weights = [rank**-s for rank in range(1, STUDIOS + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def ranking(luck: int) -> list[str]:
    """Return the studios, the most popular first."""
    numbers = random.Random(luck).sample(range(STUDIOS), STUDIOS)
    return [f"studio-{number}" for number in numbers]


def speed_up(shares: list[float], partitions: int, luck: int) -> float:
    load = [0.0] * partitions
    for studio, share in zip(ranking(luck), shares, strict=True):
        load[partition(studio, partitions)] += share
    return 1 / max(load)


SKEWS, SIZES = (0, 0.8, 1, 1.2), (1, 2, 4, 8, 12, 24, 48, 96)
found = {
    (s, size): [speed_up(zipf(s), size, luck) for luck in range(10)]
    for s in SKEWS
    for size in SIZES
}
print("   s  12 partitions       24   bound")
for s in SKEWS:
    twelve, more = found[s, 12], found[s, 24]
    span = f"({min(twelve):.1f} to {max(twelve):.1f})"
    print(
        f"{s:4} {mean(twelve):5.1f} {span:14} {mean(more):5.1f} {1 / zipf(s)[0]:7.1f}"
    )
    assert all(max(found[s, size]) < 1.001 / zipf(s)[0] for size in SIZES)

# %%
fig, ax = plt.subplots()
for s, style in zip(SKEWS, ("o-", "s--", "^-.", "D:"), strict=True):
    means = [mean(found[s, size]) for size in SIZES]
    ax.loglog(SIZES, means, style, base=2)
    ax.text(110, means[-1], f"s = {s}", va="center")
ax.loglog((1, 96), (1, 96), base=2, color="0.5", linewidth=1)
ax.text(14, 22, "as many workers", ha="right")
ax.set(
    xlabel="partitions, each with a worker", ylabel="speed-up, at most", xlim=(0.9, 300)
)
ax.xaxis.set_major_formatter("{x:g}")
ax.yaxis.set_major_formatter("{x:g}")
ends = {s: mean(found[s, 96]) for s in SKEWS}
fig.set_label(
    f"The speed-up by the number of partitions, for {STUDIOS} keys. With equal keys, "
    f"96 partitions bring {ends[0]:.0f}. With Zipf-like keys the curve flattens, and "
    "96 bring " + ", ".join(f"{ends[s]:.1f} with s = {s}" for s in SKEWS[1:]) + "."
)

# %% [markdown]
# Take *s* = 1, as everywhere below. The first studio has 13&nbsp;% of all tasks, and bounds the
# speed-up at 7.5. Twelve partitions reach 4.9 on average, because the first studio shares its
# partition with others. Twenty-four reach 5.9: **twice the partitions and the workers bring a
# fifth more**, and no number of them brings more than 7.5.

# %%
at_12, at_24 = mean(found[1, 12]), mean(found[1, 24])
assert round(zipf(1)[0], 2) == 0.13
assert round(1 / zipf(1)[0], 1) == 7.5
assert (round(at_12, 1), round(at_24, 1), round(at_24 / at_12, 1)) == (4.9, 5.9, 1.2)

# %% [markdown]
# ## Few keys, and the luck of the hash
#
# Partitions become unequal even if all keys are equal. A hash throws keys as one throws dice: of
# twelve keys, three fall into one of twelve partitions and none into another. How full the fullest
# is depends on the number of keys for each partition.[^balls]


# %%
def thrown(keys: int, partitions: int) -> list[int]:
    """Return how many of some equal keys are in each partition."""
    numbers = Counter(
        partition(rng.randbytes(8).hex(), partitions) for _ in range(keys)
    )
    return [numbers[number] for number in range(partitions)]


rng = random.Random(7)
fullest, empty = {}, {}
print("keys a     fullest, in  empty,")
print("partition  mean loads   of 12")
for keys in (1, 2, 4, 8, 16, 32, 64, 128):
    rounds = [thrown(12 * keys, 12) for _ in range(100)]
    fullest[keys] = mean(max(counts) / keys for counts in rounds)
    empty[keys] = mean(counts.count(0) for counts in rounds)
    print(f"{keys:9} {fullest[keys]:9.1f} {empty[keys]:9.1f}")

assert round(fullest[1]) == 3
assert round(empty[1]) == 4
assert round(fullest[32], 1) == 1.3

# %% [markdown]
# With one key for each partition, four of twelve workers have none, and the busiest has three.
# **Have thirty keys or more for each partition**, and the fullest has a third above the mean. If
# you have few keys, such as twelve countries, don't hash: write down which partition is whose.
#
# ## The backlog of one partition
#
# Now the simulation runs in time, with the library SimPy. A worker takes 0.1 s for a task, and 72
# tasks come a second. Four tasks
# in a row of a studio are the steps of one video: upload, transcode, thumbnail, notify. The
# simulation notes how many tasks wait in each partition, and which begin before an earlier one of
# their video, or of their studio, is done.

# %%
WORK, ARRIVALS, SECONDS, STEPS = 0.1, 72, 120, 4
assert round(ARRIVALS * WORK / 12, 2) == 0.6  # how busy twelve workers should be


class Task(NamedTuple):
    number: int
    rank: int
    studio: str
    video: str
    published: float


class Run(NamedTuple):
    waiting: list[list[int]]  # each second, in each partition
    early: Counter[str]  # tasks begun before one that should have been done


Place = Callable[[Task], int]


def simulate(place: Place, partitions: int, luck: int) -> Run:
    env, rng, run = simpy.Environment(), random.Random(luck), Run([], Counter())
    queues = [simpy.Store(env) for _ in range(partitions)]
    open_tasks: dict[str, deque[int]] = defaultdict(deque)
    studios, tasks = ranking(luck), Counter[str]()
    shares = list(accumulate(zipf(1)))

    def publish() -> Generator[simpy.Event, Any, None]:
        for number in count():
            yield env.timeout(rng.expovariate(ARRIVALS))
            [rank] = rng.choices(range(STUDIOS), cum_weights=shares)
            studio = studios[rank]
            video = f"{studio}/video-{tasks[studio] // STEPS}"
            tasks[studio] += 1
            for unit in (studio, video):
                open_tasks[unit].append(number)
            task = Task(number, rank, studio, video, env.now)
            queues[place(task)].put(task)

    def work(queue: simpy.Store) -> Generator[simpy.Event, Any, None]:
        while True:
            task: Task = yield queue.get()
            run.early["studio"] += open_tasks[task.studio][0] != task.number
            run.early["video"] += open_tasks[task.video][0] != task.number
            yield env.timeout(WORK)
            for unit in (task.studio, task.video):
                open_tasks[unit].remove(task.number)

    def watch() -> Generator[simpy.Event, Any, None]:
        while True:
            run.waiting.append([len(queue.items) for queue in queues])
            yield env.timeout(1)

    for process in (publish(), watch(), *map(work, queues)):
        env.process(process)
    env.run(SECONDS + 0.5)
    return run


# %%
def by_studio(partitions: int) -> Place:
    return lambda task: partition(task.studio, partitions)


LUCK = 7
runs = {size: simulate(by_studio(size), size, LUCK) for size in (12, 24)}
for size, run in runs.items():
    arrivals = ARRIVALS / speed_up(zipf(1), size, LUCK)
    measured = max(run.waiting[-1]) / SECONDS
    print(f"hottest of {size}: {arrivals:.1f}/s come, {measured:.1f}/s stay")
    assert round(arrivals, 1) == {12: 14.6, 24: 12.3}[size]
    assert abs(measured - (arrivals - 1 / WORK)) < 0.5
    assert run.early.total() == 0  # all in order

# %%
fig, ax = plt.subplots()
others = [sum(waiting) - max(waiting) for waiting in runs[12].waiting]
lines = {
    f"hottest of {size}": [max(w) for w in run.waiting] for size, run in runs.items()
}
lines["the other 11"] = others
for (label, line), style in zip(lines.items(), ("-", "--", ":"), strict=True):
    ax.plot(line, style)
    ax.text(SECONDS - 1, line[-1] + 12, label, ha="right", va="bottom")
ax.set(xlabel="time, s", ylabel="waiting tasks")
fig.set_label(
    f"Waiting tasks over {SECONDS} s. In the hottest of 12 partitions they grow "
    f"steadily to {lines['hottest of 12'][-1]}, in the hottest of 24 to "
    f"{lines['hottest of 24'][-1]}. In the other 11 of the 12 together there are never "
    f"more than {max(others)}."
)

# %% [markdown]
# The twelve workers together could do 120 tasks a second, and 72 come. But 14.6 of these are for
# one partition, whose worker does 10. More workers on the *total* load, as an autoscaler would add
# them, change nothing about it, and 24 partitions only make the backlog grow more slowly. So watch
# [each partition](../patterns/partitioned-consumers.md#one-partition-is-far-behind-the-others).
# Not one task was out of order, though: the key keeps its promise.
#
# ## More partitions: which keys move
#
# The hash modulo 12 and the hash modulo 24 differ for half of the keys. With 13 it is nearly all
# of them: from *n* to *m* partitions, `1 - gcd(n, m) / m` of the keys move. A *consistent* hash
# moves only what the new partitions have to get, `1 - n / m`. *Rendezvous hashing* is one: each
# partition has a weight for each key, and the heaviest one takes it.[^rendezvous]


# %%
@cache
def rendezvous(key: str, partitions: int) -> int:
    return max(
        range(partitions), key=lambda each: sha256(f"{key} {each}".encode()).digest()
    )


print("keys that move  modulo  rendezvous")
for n, m in ((12, 13), (12, 16), (12, 18), (12, 24)):
    modulo, consistent = (
        mean(place(key, n) != place(key, m) for key in map(str, range(10_000)))
        for place in (partition, rendezvous)
    )
    print(f"from {n} to {m}: {modulo:9.0%} {consistent:11.0%}")
    assert abs(modulo - (1 - gcd(n, m) / m)) < 0.02
    assert abs(consistent - (1 - n / m)) < 0.02

# %% [markdown]
# A key that moves while its tasks wait in the old partition gets its next one into a partition
# that is nearly empty: **the new task overtakes the old ones**. A consistent hash has fewer such
# keys, and does not spare those that move.
#
# ## The ways out, and what each costs
#
# Each way runs with five rankings, from the start or with the change halfway. *Salting* divides a
# hot key into four, by a number that is added to it.


# %%
def grow(partitions: int, place: Callable[[str, int], int] = partition) -> Place:
    return lambda task: place(
        task.studio, 12 if task.published < SECONDS / 2 else partitions
    )


def salt(hottest: int) -> Place:
    def place(task: Task) -> int:
        key = f"{task.studio}#{task.number % 4}" if task.rank < hottest else task.studio
        return partition(key, 12)

    return place


WAYS: dict[str, tuple[Place, int]] = {
    "12 partitions": (by_studio(12), 12),
    "24 partitions": (by_studio(24), 24),
    "12, then 13": (grow(13), 13),
    "12, then 24": (grow(24), 24),
    "12, then 13, rdv": (grow(13, rendezvous), 13),
    "hottest salted": (salt(1), 12),
    "ten salted": (salt(10), 12),
    "by video": (lambda task: partition(task.video, 12), 12),
    "in turn": (lambda task: task.number % 12, 12),
}
waiting: dict[str, list[int]] = {}
early: dict[str, list[Counter[str]]] = {}
print("worst of five    waiting  begun too early")
print("                  at end  in studio video")
for way, (place, size) in WAYS.items():
    five = [simulate(place, size, luck) for luck in range(5)]
    waiting[way] = [max(run.waiting[-1]) for run in five]
    early[way] = [run.early for run in five]
    studio, video = (
        max(each[unit] for each in early[way]) for unit in ("studio", "video")
    )
    print(f"{way:17} {max(waiting[way]):6} {studio:9} {video:6}")

# %%
for way in ("12 partitions", "24 partitions"):
    assert min(waiting[way]) > 100
    assert all(each.total() == 0 for each in early[way])
for way in ("12, then 13", "12, then 24"):
    assert min(waiting[way]) > 100
    assert all(each["studio"] and each["video"] for each in early[way])
some = [each["studio"] for each in early["12, then 13, rdv"]]
assert sorted(some)[0] == 0 < sorted(some)[1] < sorted(some)[3] < 10 < 400 < max(some)
assert sum(some) < sum(each["studio"] for each in early["12, then 13"]) / 3
assert min(waiting["12, then 13, rdv"]) > 200
assert min(waiting["hottest salted"]) < 20 < 500 < max(waiting["hottest salted"])
assert sum(end < 25 for end in waiting["ten salted"]) == 4
assert all(
    each["video"] > 300 for way in WAYS if "salted" in way for each in early[way]
)
assert max(waiting["by video"]) < 25
assert all(each["video"] == 0 for each in early["by video"])
assert max(waiting["in turn"]) < 25
assert all(each["video"] / (ARRIVALS * SECONDS) > 0.1 for each in early["in turn"])

# %% [markdown]
# - **More partitions, while tasks wait**, broke the order in every run, and left a backlog in
#   every run.
# - **A consistent hash** broke it less: in one of five runs not at all, in three for fewer than ten
#   tasks, in one for hundreds. Which keys move is luck, and with them how much they relieve the hot
#   partition: it kept a backlog in every run.
# - **Salting the hottest studio** helped in some runs and not in others: its four new keys are
#   thrown as the others are, and the next studio is hot as well. With ten salted, four of five
#   runs had no backlog. In each run, hundreds of steps came too early.
# - **A finer key** does it. The steps of a *video* depend on each other; those of a studio never
#   did. No partition has a backlog, and no step of a video came too early. That the videos of a
#   studio overtake each other is the price, and here it costs nothing.
# - **In turn**, without a key, balances best. More than one task in ten began before an earlier
#   step of its video was done.
#
# ## What to do
#
# 1. **Take as the key the smallest thing whose order matters.** Ask [what would go
#    wrong](../best-practices/ordering.md#ask-what-would-go-wrong) if two messages changed places.
# 2. **Compute the bound** before you add workers: count a day of real keys by partition, and
#    divide the total by the largest count. More workers than that are of no use, whatever the [sum
#    for the total](../best-practices/capacity.md) says.
# 3. **Take enough partitions at the start**: several times the workers of the peak, and few enough
#    that each has thirty keys or more.
# 4. **If you have to add some**, let the old ones [run empty
#    first](../patterns/partitioned-consumers.md#more-partitions-are-needed). A consistent hash
#    does not replace that.
# 5. **Salt only what may be out of order**, such as counts that are summed up later. Whoever wants
#    the whole key has to read all four parts of it.
# 6. **Where no order matters, take no key**: the workers of a [work
#    queue](../patterns/work-queue.md) share one line.
#
# ## What this lab leaves out
#
# Every task takes 0.1 s, and no worker fails. Long tasks among short ones are a skew that no hash
# sees. That more partitions break the order on real brokers is [proven by
# tests](../patterns/partitioned-consumers.md#take-a-line-away). On PostgreSQL, a lock on the key
# needs no partitions and knows no luck of the hash; the bound of one hot key stays.
#
# [^zipf]: L. Breslau and others, "Web Caching and Zipf-like Distributions: Evidence and Implications", INFOCOM 1999, [abstract](https://pages.cs.wisc.edu/~cao/papers/zipf-implications.html). [References](../references.md#breslau-1999).
# [^balls]: M. Raab, A. Steger, ["Balls into Bins": A Simple and Tight Analysis](https://doi.org/10.1007/3-540-49543-6_13), RANDOM 1998, has the bounds. [References](../references.md#raab-steger-1998).
# [^rendezvous]: [RFC 8584](https://www.rfc-editor.org/rfc/rfc8584.html), 2019, section 3, where routers share networks in this way. [References](../references.md#rfc-8584).
