# ---
# description: Why twelve partitions don't employ twelve workers when keys are unequal, which keys
#   move when there are more partitions, and what each way out costs.
# ---

# %% [markdown]
# # Keys and skew
#
# A thousand channels upload videos. The tasks of a channel have to stay in order, so the channel
# is the key: a hash turns it into one of twelve partitions, and twelve workers read one each
# ([partitioned consumers](../patterns/partitioned-consumers.md)). Each worker does ten tasks a
# second, 72 come, and on the whole the workers are little more than half busy. Still, one
# partition falls further behind with every minute. **How many workers do twelve partitions really
# employ, and what changes when there are more?**

# %%
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator
from itertools import accumulate, count
from math import gcd
from statistics import mean
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib.pyplot as plt
import simpy

CHANNELS = 1_000


def partition(key: str, partitions: int) -> int:
    return crc32(key.encode()) % partitions


# %% [markdown]
# CRC32 is what librdkafka takes by default, and with it Kafka's clients in C, .NET and Go; the
# Java client takes murmur2
# ([sources](../patterns/partitioned-consumers.md#steps-of-a-video-come-out-of-order)). Any good
# hash shows what follows, and CRC32 comes with Python.
#
# ## One key bounds them all
#
# Channels are not equal. Popularity is often *Zipf-like*: the share of the channel of rank *r* is
# in proportion to 1 / *r*^*s*. In the requests of web proxies, the exponent *s* was found to vary
# from trace to trace.[^zipf] With *s* = 0 all channels are equal.
#
# A partition has one worker at a time. So all are done when the hottest partition is: **the
# speed-up is at most 1 ÷ the share of the hottest partition**, however many workers there are.


# %%
def zipf(s: float) -> list[float]:
    """Return the share of each channel, the hottest first."""
    weights = [rank**-s for rank in range(1, CHANNELS + 1)]
    return [weight / sum(weights) for weight in weights]


def loads(shares: list[float], partitions: int) -> list[float]:
    """Return the share of each partition."""
    load = [0.0] * partitions
    for channel, share in enumerate(shares):
        load[partition(f"channel-{channel}", partitions)] += share
    return load


SKEWS, SIZES = (0, 0.8, 1, 1.2), (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
speed_up = {s: [1 / max(loads(zipf(s), size)) for size in SIZES] for s in SKEWS}
for s, values in speed_up.items():
    bound = 1 / max(zipf(s))
    print(f"s = {s:3}: 12 partitions {values[4]:4.1f}, 24: {values[6]:4.1f}, bound {bound:6.1f}")

fig, ax = plt.subplots()
for (s, values), style in zip(speed_up.items(), ("o-", "s--", "^-.", "D:"), strict=True):
    ax.plot(SIZES, values, style, markersize=4)
    ax.annotate(
        f"s = {s}", (SIZES[-1], values[-1]), (6, 0), textcoords="offset points", va="center"
    )
ax.plot((1, 64), (1, 64), color="0.5", linewidth=1)
ax.annotate("one worker each", (30, 34), ha="right", color="0.5")
ax.set(xlabel="partitions, each with a worker", ylabel="workers' worth of speed, at most")
ax.set_xlim(0, 75)
fig.set_label(
    f"The speed-up against the number of partitions, for {CHANNELS} keys. Equal keys follow the "
    f"diagonal, {speed_up[0][-1]:.0f} of 64 at the end. Zipf keys flatten out: at 64 partitions "
    + ", ".join(f"{speed_up[s][-1]:.1f} with s = {s}" for s in SKEWS[1:])
)

# %% [markdown]
# Take *s* = 1, as everywhere below. The first channel has 13 % of all tasks, which bounds the
# speed-up at 7.5. Twelve partitions reach 5.5, because 87 other channels are in the hottest.
# Twenty-four reach 6.3. **Twice the partitions and workers bring 15 % more**, and hardly anything
# comes after that.

# %%
hot = partition("channel-0", 12)
neighbours = sum(partition(f"channel-{n}", 12) == hot for n in range(1, CHANNELS))
at_12, at_24 = speed_up[1][4], speed_up[1][6]
assert (round(100 * zipf(1)[0]), round(1 / zipf(1)[0], 1), neighbours) == (13, 7.5, 87)
assert (round(at_12, 1), round(at_24, 1), round(100 * at_24 / at_12)) == (5.5, 6.3, 115)
assert all(value <= 1 / zipf(s)[0] for s in SKEWS for value in speed_up[s])

# %% [markdown]
# ## Few keys, and the luck of the hash
#
# Skew needs no hit. A hash throws keys as dice would: with twelve equal keys on twelve partitions,
# some partitions get three and some get none. How far the fullest is above the mean depends on the
# number of keys for each partition.[^balls]


# %%
def thrown(keys: int, partitions: int) -> list[int]:
    """Return how many of some equal keys are in each partition."""
    found = Counter(partition(rng.randbytes(8).hex(), partitions) for _ in range(keys))
    return [found[number] for number in range(partitions)]


rng = random.Random(7)
fullest = {}
for each in (1, 2, 4, 8, 16, 32, 64, 128):
    rounds = [thrown(12 * each, 12) for _ in range(200)]
    fullest[each] = mean(max(counts) for counts in rounds) / each
    empty = mean(counts.count(0) for counts in rounds)
    print(
        f"{each:3} keys a partition: fullest {fullest[each]:.1f} times the mean, {empty:.1f} empty"
    )
    if each == 1:
        assert round(empty) == 4

assert round(fullest[1], 1) == 2.9
assert round(fullest[32], 1) == 1.3

# %% [markdown]
# Twelve keys leave four of twelve workers without work, and one has three times its share. **Have
# thirty keys or more for each partition**; the fullest is then a third above the mean. If you have
# few and equal keys, such as twelve studios, don't hash: write down which partition is whose.
#
# ## The backlog of one partition
#
# Now in time, with SimPy. A worker takes 0.1 s for a task, and 72 tasks come a second. Four tasks
# in a row are the steps of one video: upload, transcode, thumbnail, notify. The simulation notes
# how many tasks wait in each partition, and which ones begin before an earlier task of their
# video, or of their channel, is done.

# %%
WORK, ARRIVALS, SECONDS, STEPS = 0.1, 72, 300, 4


class Task(NamedTuple):
    number: int
    channel: str
    video: str
    published: float


class Run(NamedTuple):
    waiting: list[list[int]]  # each second, in each partition
    overtook: Counter[str]  # tasks that began before an earlier one of the same unit was done


def simulate(place: Callable[[Task], int], partitions: int) -> Run:
    env, rng, run = simpy.Environment(), random.Random(7), Run([], Counter())
    queues = [simpy.Store(env) for _ in range(partitions)]
    unfinished: dict[str, deque[int]] = defaultdict(deque)
    published: Counter[int] = Counter()
    shares = list(accumulate(zipf(1)))

    def publish() -> Generator[simpy.Event, Any, None]:
        for number in count():
            yield env.timeout(rng.expovariate(ARRIVALS))
            [channel] = rng.choices(range(CHANNELS), cum_weights=shares)
            name = f"channel-{channel}"
            task = Task(number, name, f"{name}/{published[channel] // STEPS}", env.now)
            published[channel] += 1
            for unit in (task.channel, task.video):
                unfinished[unit].append(number)
            queues[place(task)].put(task)

    def work(queue: simpy.Store) -> Generator[simpy.Event, Any, None]:
        while True:
            task: Task = yield queue.get()
            for unit in ("channel", "video"):
                run.overtook[unit] += unfinished[getattr(task, unit)][0] != task.number
            yield env.timeout(WORK)
            for name in (task.channel, task.video):
                unfinished[name].remove(task.number)

    def watch() -> Generator[simpy.Event, Any, None]:
        while True:
            run.waiting.append([len(queue.items) for queue in queues])
            yield env.timeout(1)

    for process in (publish(), watch(), *map(work, queues)):
        env.process(process)
    env.run(SECONDS + 0.5)
    return run


def by_channel(partitions: int) -> Callable[[Task], int]:
    return lambda task: partition(task.channel, partitions)


runs = {size: simulate(by_channel(size), size) for size in (12, 24)}

# %%
fig, ax = plt.subplots()
for (size, run), style in zip(runs.items(), ("-", "--"), strict=True):
    hottest = [max(waiting) for waiting in run.waiting]
    ax.plot(hottest, style)
    ax.annotate(
        f"{size} partitions",
        (SECONDS, hottest[-1]),
        (-4, 6),
        ha="right",
        textcoords="offset points",
    )
rest = [sum(waiting) - max(waiting) for waiting in runs[12].waiting]
ax.plot(rest, ":")
ax.annotate(
    "the other 11 together", (SECONDS, rest[-1]), (-4, 6), ha="right", textcoords="offset points"
)
ax.set(xlabel="time, s", ylabel="waiting tasks, hottest partition")
ends = {size: max(run.waiting[-1]) for size, run in runs.items()}
fig.set_label(
    f"Waiting tasks over {SECONDS} s. In the hottest of 12 partitions they grow steadily to "
    f"{ends[12]}, in the hottest of 24 to {ends[24]}. In the other 11 together there are {rest[-1]}."
)

# %%
for size, run in runs.items():
    too_many = ARRIVALS / speed_up[1][SIZES.index(size)] - 1 / WORK
    print(
        f"{size} partitions: {too_many:.1f} a second too many, backlog {ends[size]} in {SECONDS} s"
    )
    assert abs(ends[size] / SECONDS - too_many) < 0.3
    assert not run.overtook.total()  # in order, all of them
assert max(rest) < 100

# %% [markdown]
# The workers could do 120 tasks a second; 72 come, and 3 a second are too many. A backlog grows by
# the arrivals of its partition less what one worker does. A rule that adds workers by their mean
# load sees none of it. Watch [each
# partition](../patterns/partitioned-consumers.md#one-partition-is-far-behind-the-others). But not
# one task was done out of order: that is what the key is for.
#
# ## More partitions: which keys move
#
# The hash modulo 12 and the hash modulo 24 differ for half of the keys. With 13 it is almost all
# of them: from *n* to *m* partitions, `1 - gcd(n, m) / m` of the keys move. A *consistent* hash
# moves only what the new partitions have to get, `1 - n / m`. The jump hash is one, in a few
# lines.[^jump]


# %%
def jump(key: str, partitions: int) -> int:
    state, found, candidate = crc32(key.encode()), 0, 0
    while candidate < partitions:
        found = candidate
        state = (state * 2862933555777941757 + 1) % 2**64
        candidate = int((found + 1) * 2**31 / ((state >> 33) + 1))
    return found


for before, after in ((12, 13), (12, 16), (12, 18), (12, 24)):
    moved, jumped = (
        mean(place(key, before) != place(key, after) for key in map(str, range(10_000)))
        for place in (partition, jump)
    )
    print(f"{before} to {after}: {moved:3.0%} of the keys move, {jumped:3.0%} with the jump hash")
    assert abs(moved - (1 - gcd(before, after) / after)) < 0.03
    assert abs(jumped - (1 - before / after)) < 0.03

# %% [markdown]
# A key that moves while its tasks wait in the old partition is served from an empty one: **the new
# task overtakes the old**. A consistent hash has fewer such keys, and does not spare those that
# move.
#
# ## The ways out, and what each costs
#
# The same tasks once more, each way from the start, or with the change halfway, when the backlog
# has grown.


# %%
def grow(size: int, place: Callable[[str, int], int] = partition) -> Callable[[Task], int]:
    return lambda task: place(task.channel, 12 if task.published < SECONDS / 2 else size)


def salt(channels: int) -> Callable[[Task], int]:
    """Divide each of the hottest channels into four keys, taken in turn."""
    hot = {f"channel-{number}" for number in range(channels)}
    return lambda task: partition(
        f"{task.channel}#{task.number % 4}" if task.channel in hot else task.channel, 12
    )


WAYS = {
    "12 partitions": (by_channel(12), 12),
    "24 partitions": (by_channel(24), 24),
    "12, then 13": (grow(13), 13),
    "12, then 24": (grow(24), 24),
    "12, then 24, jump": (grow(24, jump), 24),
    "hottest salted": (salt(1), 12),
    "10 hottest salted": (salt(10), 12),
    "by video": (lambda task: partition(task.video, 12), 12),
    "in turn, no key": (lambda task: task.number % 12, 12),
}
results = {}
print("                   waiting at   begun too early in their")
print("                    the end     channel       video")
for name, (place, size) in WAYS.items():
    run = simulate(place, size)
    results[name] = max(run.waiting[-1]), run.overtook["channel"], run.overtook["video"]
    print("{:18} {:9} {:10} {:11}".format(name, *results[name]))

# %%
no_backlog = {name for name, result in results.items() if result[0] < 20}
in_order = {name for name, result in results.items() if result[2] == 0}
assert no_backlog == {"10 hottest salted", "by video", "in turn, no key"}
assert in_order == {"12 partitions", "24 partitions", "by video"}
assert results["12, then 13"][1] > results["12, then 24"][1] > results["12, then 24, jump"][1] > 0
assert results["hottest salted"][0] > 500
assert round(results["in turn, no key"][2] / (ARRIVALS * SECONDS), 2) == 0.12

# %% [markdown]
# - **More partitions, in the middle of it**, break the order, and the backlog remains. From 12 to
#   13 is worse than from 12 to 24, and the jump hash better than both; none is clean.
# - **Salting** adds a number to a hot key and so makes four of it. Salted alone, the hottest
#   channel is cured and the queue goes on to grow: the next channels are hot now. With the ten
#   hottest there is no backlog, and no order left in them.
# - **A finer key** does what was wanted. The steps of a *video* depend on each other, those of a
#   channel never did. No partition has a backlog, and no step came too early.
# - **No key** balances best, and one task in eight begins before an earlier step of its video is
#   done.
#
# ## What to do
#
# 1. **Take the smallest thing whose order matters as the key.** Ask [what would go
#    wrong](../best-practices/ordering.md#ask-what-would-go-wrong) if two messages changed places.
# 2. **Compute the bound from a day of real keys** before you add workers: count by partition, and
#    divide the total by the largest. That is `loads()` above, and no more workers than that are of
#    use, whatever [capacity](../best-practices/capacity.md) says of the total.
# 3. **Take enough partitions at the start**: several times the workers of the peak, and thirty
#    keys or more for each.
# 4. **If you have to add some**, pause the publishers until nothing waits, as [More partitions are
#    needed](../patterns/partitioned-consumers.md#more-partitions-are-needed) says. A consistent
#    hash is no substitute.
# 5. **Salt only what may be out of order**: a counter that is summed up later, a log. Whoever
#    reads a salted key has to read all four.
# 6. **Without a need for order, take no key**: the workers of a [work
#    queue](../patterns/work-queue.md) share one line, and none of this happens.
#
# ## What this lab leaves out
#
# Every task takes 0.1 s here, and no worker fails. Long tasks among short ones are a skew of their
# own, which no hash sees. That added partitions break the order on real brokers as well is [proven
# by tests](../patterns/partitioned-consumers.md#what-is-proven). A lock on the key instead of
# partitions, as on PostgreSQL there, has no luck of the hash; the bound of one hot key stays.
#
# [^zipf]: L. Breslau and others, "Web Caching and Zipf-like Distributions: Evidence and
#     Implications", INFOCOM 1999,
#     [abstract](https://pages.cs.wisc.edu/~cao/papers/zipf-implications.html).
#     [References](../references.md#breslau-1999).
# [^balls]: M. Raab, A. Steger, ["Balls into Bins": A Simple and Tight
#     Analysis](https://doi.org/10.1007/3-540-49543-6_13), RANDOM 1998, has the bounds.
#     [References](../references.md#raab-steger-1998).
# [^jump]: J. Lamping, E. Veach, [A Fast, Minimal Memory, Consistent Hash
#     Algorithm](https://arxiv.org/abs/1406.2294), 2014.
#     [References](../references.md#lamping-2014).
