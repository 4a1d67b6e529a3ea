# ---
# description: How long a task waits in a queue, by how busy the workers are, how unequal the work is and how many share it. A formula to size workers and to say when a backlog is gone, checked against a simulation.
# keywords: "queueing theory, queue length, utilisation, utilization, M/M/1, Little's law, wait, latency, how many workers, scaling, autoscaling, capacity"
# ---

# %% [markdown]
# # How long is the line
#
# A transcoding worker is dear: it has a graphics card, and it costs as much at rest as at work. The dashboard says that ours are busy for 80&nbsp;% of the time. Somebody asks
# why we pay for the other 20. Would a tenth fewer do? And when a studio uploads its week on Friday evening, how long until the last video is ready?
#
# The answers are arithmetic, once you know four numbers: how many tasks arrive, how long one takes, how much arrivals and work vary, and how many workers share the queue.
# This lab simulates the queue task by task, and then finds the formula that says the same without a simulation.
#
# ## A queue, simulated
#
# Tasks arrive one after the other, with a random gap between them. Each takes the first free worker, in order, and keeps it for as long as its work takes. All times are in minutes, and
# a task takes one minute on average. So a rate of 0.8 tasks a minute keeps one worker busy for 80&nbsp;% of the time.

# %%
import math
import random
import statistics
from collections.abc import Callable, Generator

import matplotlib.pyplot as plt
import simpy

chance = random.Random(7)
Steps = Generator[simpy.Event]


# %%
def simulate(
    gap: Callable[[float], float],
    work: Callable[[], float],
    workers: int,
    tasks: int = 40_000,
) -> tuple[list[float], list[int]]:
    """Return each task's wait, and how many tasks wait at each minute."""
    chance.seed(7)
    clock = simpy.Environment()
    pool = simpy.Resource(clock, workers)
    waits: list[float] = []
    waiting: list[int] = []

    def task() -> Steps:
        came = clock.now
        with pool.request() as turn:
            yield turn
            waits.append(clock.now - came)
            yield clock.timeout(work())

    def arrivals() -> Steps:
        for _ in range(tasks):
            yield clock.timeout(gap(clock.now))
            clock.process(task())

    def watch() -> Steps:
        while len(waits) < tasks:
            waiting.append(len(pool.queue))
            yield clock.timeout(1)

    for process in (arrivals(), watch()):
        clock.process(process)
    clock.run()
    return waits, waiting


# %% [markdown]
# ## Busier is longer, and not in proportion
#
# The plainest case comes first: one worker, gaps and work that vary as much as pure chance makes them (an exponential distribution). Its exact answer is in every textbook:
# the mean wait, in units of the mean work, is *busy / (1 − busy)*.


# %%
def at_random(rate: float) -> Callable[[float], float]:
    """Return gaps of pure chance, `rate` arrivals a minute."""
    return lambda _: chance.expovariate(rate)


def varied() -> float:
    return chance.expovariate(1)


loads = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
runs = {busy: simulate(at_random(busy), varied, workers=1) for busy in loads}
mean = {busy: statistics.fmean(waits) for busy, (waits, _) in runs.items()}

print("busy   formula   simulated")
for busy in loads:
    print(f"{busy:4.0%}{busy / (1 - busy):10.1f}{mean[busy]:12.1f}")
    assert math.isclose(mean[busy], busy / (1 - busy), rel_tol=0.1)

# %%
fig, ax = plt.subplots()
curve = [share / 100 for share in range(97)]
ax.plot([100 * b for b in curve], [b / (1 - b) for b in curve])
ax.plot([100 * b for b in loads], [mean[b] for b in loads], "o", color="C1")
ax.annotate("formula", (93, 15), ha="right", color="C0")
ax.annotate("simulated", (78, 4.8), ha="right", color="C1")
ax.set_xlabel("busy, % of the time")
ax.set_ylabel("mean wait, min")
fig.set_label(
    f"The mean wait against the load of one worker: {mean[0.5]:.1f} minutes at 50 "
    f"percent, {mean[0.8]:.1f} at 80, {mean[0.9]:.1f} at 90 and {mean[0.95]:.1f} at "
    "95. The simulated points lie on the formula's curve, which rises ever more "
    "steeply."
)

# %% [markdown]
# From 80 to 90&nbsp;% the wait more than doubles, and from 90 to 95&nbsp;% it doubles again. Nothing has failed. Taking away a tenth of the workers is a step from 80 to 89&nbsp;%: the invoice
# shrinks by a tenth, and the line becomes twice as long.
#
# The mean is also not what your users complain about. At 80&nbsp;%, one task in a hundred waits five times as long as the mean or more:

# %%
waits, waiting = runs[0.8]
slowest = statistics.quantiles(waits, n=100)[98]
print(f"mean {mean[0.8]:.1f} min, 99th percentile {slowest:.0f} min")
assert 5 < slowest / mean[0.8] < 6
assert mean[0.9] > 2 * mean[0.8]
assert mean[0.95] > 2 * mean[0.9]
assert 0.8 / 0.9 < 0.89  # what a tenth fewer workers makes of 80 %
assert (0.89 / 0.11) > 2 * (0.8 / 0.2)

# %% [markdown]
# ## Little's law: count the line, and you know the wait
#
# The simulation also looked at the queue once a minute. Arrivals a minute × mean wait = mean length of the line. This is Little's law,[^little] and it holds whatever the
# distributions are. In production, you have the length of a queue and the rate, and can't easily measure the wait: divide the length by the rate.

# %%
length = statistics.fmean(waiting)
print(f"{length:.2f} tasks wait, {0.8 * mean[0.8]:.2f} by Little's law")
assert math.isclose(length, 0.8 * mean[0.8], rel_tol=0.02)

# %% [markdown]
# ## What else decides: variation, and sharing
#
# Three things make the line, and you can change each of them: how busy the workers are, how much gaps and work *vary*, and how many workers take from the *same* queue. Kingman's
# approximation[^kingman] has the first two, Sakasegawa's[^sakasegawa] the third:
#
# *wait* ≈ *work* × (*a*² + *s*²) / 2 × *busy* <sup>√(2 × *workers* + 2) − 1</sup> / (*workers* × (1 − *busy*))
#
# Here *a* and *s* say how much the gaps and the work vary: their standard deviation divided by their mean. 0 is a clock, 1 is pure chance, and both are 1 above. Take them from a day of
# timestamps with `statistics.pstdev` and `statistics.fmean`.


# %%
def wait(busy: float, workers: int = 1, gaps: float = 1, works: float = 1) -> float:
    """Return the mean wait, in units of the mean work, by the formula."""
    power = math.sqrt(2 * workers + 2) - 1
    return (gaps**2 + works**2) / 2 * math.pow(busy, power) / (workers * (1 - busy))


def equal() -> float:
    return 1


def films_among_clips() -> float:
    """Return nine clips of half a minute for each film of five and a half."""
    return 5.5 if chance.random() < 0.1 else 0.5


def in_bundles(_: float) -> float:
    """Return no gap, four times of five: whoever uploads, uploads five on average."""
    return chance.expovariate(0.8 / 5) if chance.random() < 0.2 else 0


rows = {
    "all alike": (1, 1, 0, at_random(0.8), equal),
    "pure chance": (1, 1, 1, at_random(0.8), varied),
    "films among clips": (1, 1, 1.5, at_random(0.8), films_among_clips),
    "in bundles of 5": (1, 3, 1, in_bundles, varied),
    "10 workers": (10, 1, 1, at_random(8), varied),
}

# %%
simulated: dict[str, float] = {}
print("80 % busy           formula   simulated")
for name, (workers, gaps, works, gap, work) in rows.items():
    tasks = 100_000 if workers > 1 else 40_000
    simulated[name] = statistics.fmean(simulate(gap, work, workers, tasks)[0])
    expected = wait(0.8, workers, gaps, works)
    print(f"{name:20}{expected:7.2f}{simulated[name]:12.2f}")
    assert math.isclose(simulated[name], expected, rel_tol=0.15)

# %% [markdown]
# All five lines stand behind workers that are 80&nbsp;% busy. The formula is within 15&nbsp;% of each, which is better than what you know about next month's arrivals.
#
# - **Work of equal length** halves the wait. Cut films into parts, or give them a queue of their own, so that clips don't wait behind them.
# - **Films among clips** wait half as long again as pure chance, with the same mean of one minute. A mean without its variation sizes nothing.
# - **Bundles** are the worst: five at a time make the wait more than five times as long. Here the formula promises too little. If you can, spread a nightly import over the night.
# - **Sharing** is the strongest cure: a task for ten workers on one queue waits a twentieth as long as with ten queues of one worker each. That is what a
#   [work queue](../patterns/work-queue.md) gives you, and what [a partition for each consumer](../patterns/partitioned-consumers.md) takes away.

# %%
assert math.isclose(simulated["all alike"] / simulated["pure chance"], 0.5, rel_tol=0.1)
assert 1.4 < simulated["films among clips"] / simulated["pure chance"] < 1.8
assert 5 < simulated["in bundles of 5"] / simulated["pure chance"] < 6.5
assert simulated["in bundles of 5"] > wait(0.8, gaps=3)
assert 18 < simulated["pure chance"] / simulated["10 workers"] < 22

fig, ax = plt.subplots()
for style, workers in zip(("-", "--", ":"), (1, 3, 10), strict=True):
    ax.plot(
        [100 * b for b in curve],
        [wait(b, workers) for b in curve],
        style,
        label=f"{workers}",
    )
ax.set_ylim(0, 10)
ax.set_xlabel("busy, % of the time")
ax.set_ylabel("mean wait, min")
ax.legend(title="workers on one queue")
fig.set_label(
    "The mean wait against the load, by the formula, for 1, 3 and 10 workers on one "
    f"queue. At 90 percent it is {wait(0.9):.1f}, {wait(0.9, 3):.1f} and "
    f"{wait(0.9, 10):.1f} minutes. The more workers share a queue, the later the curve "
    "bends upward."
)

# %% [markdown]
# ## How many workers
#
# Turned round, the formula sizes a pool. Begin with as many workers as Little's law keeps busy, arrivals × work, and add one until the wait is what you promised.


# %%
def workers_for(
    promise: float, arrivals: float, gaps: float = 1, works: float = 1
) -> int:
    """Return how many workers keep the mean wait; times in units of the mean work."""
    workers = math.floor(arrivals) + 1
    while wait(arrivals / workers, workers, gaps, works) > promise:
        workers += 1
    return workers


print("tasks a minute   workers   busy   formula   simulated")
pools: dict[int, float] = {}
for arrivals in (1, 2, 8, 40):
    workers = workers_for(promise=0.25, arrivals=arrivals)
    busy = pools[workers] = arrivals / workers
    measured = statistics.fmean(simulate(at_random(arrivals), varied, workers)[0])
    print(
        f"{arrivals:8}{workers:16}{busy:9.0%}{wait(busy, workers):9.2f}{measured:12.2f}"
    )
    assert measured < min(0.25, 1.1 * wait(busy, workers))
assert math.isclose(pools[3], 1 / 3)
assert pools[10] == 0.8
assert round(1 / (1 - pools[43])) == 14

# %% [markdown]
# The same promise of 15 seconds leaves three workers idle for two thirds of their time, and 43 workers for a fourteenth. *80 percent busy* is a rule for a pool of ten.
# Where workers have much time to spare, the formula errs on the safe side.
# So ask how large the pool is before you call a worker idle.
#
# ## How long a backlog lasts
#
# On Friday 20 videos a minute come for half an hour, where 4 are usual: the story of [load levelling](../use-cases/load-levelling.md). No pool that we would pay for all week
# keeps up. The queue takes what is too much, and is drained by what the workers have to spare:
#
# - at the end of the burst, (peak − capacity) × its length wait;
# - the last of them waits for that, divided by capacity;
# - the queue is empty after that, divided by (capacity − usual rate).


# %%
def friday(now: float) -> float:
    return chance.expovariate(20 if 60 <= now < 90 else 4)


lines: dict[int, list[int]] = {}
gone: dict[int, int] = {}
print("by the sum (simulated), tasks and minutes")
print("workers    they wait    the last   drained")
for workers in (6, 8, 12):
    waits, line = simulate(friday, varied, workers, tasks=3500)
    lines[workers] = line
    gone[workers] = line.index(0, 90) - 90
    left = (20 - workers) * 30
    row = f"{workers:5}"
    for expected, found in (
        (left, max(line)),
        (left / workers, max(waits)),
        (left / (workers - 4), gone[workers]),
    ):
        row += f"{expected:7.0f} ({found:.0f})"
        assert math.isclose(found, expected, rel_tol=0.2)
    print(row)
assert gone[8] < gone[6] / 2

# %%
fig, ax = plt.subplots()
for style, (workers, line) in zip(("-", "--", ":"), lines.items(), strict=True):
    ax.plot(range(-60, 300), line[:360], style, label=f"{workers} workers")
ax.set_xlabel("minutes since the burst began")
ax.set_ylabel("tasks that wait")
ax.legend()
fig.set_label(
    "The length of the line through a burst of half an hour. It rises to "
    + ", ".join(
        f"{max(line)} tasks with {workers} workers" for workers, line in lines.items()
    )
    + ". After the burst it is gone within "
    + ", ".join(
        f"{minutes} minutes with {workers}" for workers, minutes in gone.items()
    )
    + "."
)

# %% [markdown]
# With eight workers instead of six the line is gone in less than half of the time: only what they have *to spare* drains it, and that doubles. The same sum tells what an outage costs: an hour without workers
# is a burst of the usual rate for an hour, with a capacity of 0.
#
# ## What to do
#
# 1. **Size for the wait, not for the load.** Put your four numbers into the formula. For a pool of one or two workers, stay below 70&nbsp;%; a pool of forty may be at 93.
# 2. **Share one queue** among all workers that can do the work, before you buy another worker.
# 3. **Make the work alike**: split what is long, or keep it in a queue of its own. Spread what arrives in bundles.
# 4. **Let the queue take the burst**, if what waits may be late by backlog ÷ capacity. Say it before Friday, and [refuse](../patterns/backpressure.md) what would be later.
# 5. **Alert on the wait**, length ÷ rate, and not on the length: [Capacity](../best-practices/capacity.md) has the numbers to measure and to watch.
#
# The formula knows a steady state: workers that don't fail, arrivals that don't follow the clock, nobody who gives up and tries again. For a rate that changes through the day, size for the peak.
# For those who try again, see [retries and time-outs](../best-practices/retries-and-timeouts.md).
#
# [^little]: J. D. C. Little, "A Proof for the Queuing Formula: L = λW", *Operations Research* 9(3), 1961. [References](../references.md#little-1961).
# [^kingman]: J. F. C. Kingman, "The Single Server Queue in Heavy Traffic", *Mathematical Proceedings of the Cambridge Philosophical Society* 57(4), 1961. [References](../references.md#kingman-1961).
# [^sakasegawa]: H. Sakasegawa, "An Approximation Formula *L<sub>q</sub>* ≃ *αρ<sup>β</sup>*/(1 − *ρ*)", *Annals of the Institute of Statistical Mathematics* 29, 1977. [References](../references.md#sakasegawa-1977).
