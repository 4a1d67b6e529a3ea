# ---
# description: >-
#   A lab: one component slows down, and others fail that never call it. Calls, a pool, a queue and
#   a queue with a limit, simulated: who waits, who fails, and where a queue only moves the pain.
# keywords: "noisy neighbour, noisy neighbor, slow consumer, prefetch, head-of-line blocking, fairness, slow task, multi-tenant"
# ---

# %% [markdown]
# # The slow neighbour
#
# An upload to the video platform ends with a picture. The web server calls the catalogue, the
# catalogue calls the thumbnailer, and after a quarter of a second the uploader sees a thumbnail.
# One day the thumbnailer needs two seconds for a picture instead of 0.2. That uploads fail
# surprises nobody. But videos do not play either, and playing one needs no thumbnail.
#
# How does a fault travel from the component that is called to those that call it? What does a queue
# between them change, and what does it leave as it was?
#
# ## The model
#
# ```mermaid
# flowchart TB
#     accTitle: The chain of calls
#     accDescr: Uploads go through web server, catalogue and thumbnailer; views end at the first.
#     V([20 views a second]) --> W
#     U([10 uploads a second]) --> W["Web server<br/>16 threads"]
#     W --> C["Catalogue<br/>16 threads"]
#     C --> T["Thumbnailer<br/>4 at a time"]
# ```
#
# The web server has 16 threads, the catalogue has 16, and the thumbnailer makes four pictures at a
# time. A view needs nobody but the web server. A caller keeps its thread until the answer comes or
# its time-out ends. That ends the waiting, [not the
# work](../best-practices/retries-and-timeouts.md#put-a-time-out-on-every-call): a picture that
# nobody waits for any more is made all the same.
#
# The model leaves things out: nobody tries again ([another lab](retry_storm.py) does), a thread costs nothing but its
# place, and the broker is always up, loses nothing and takes no time. So what the queue gains here
# is the most that it can gain.

# %%
import random
from collections.abc import Generator
from dataclasses import dataclass
from statistics import fmean, median, quantiles
from typing import Any

import matplotlib.pyplot as plt
import simpy

FAULT_BEGINS, FAULT_ENDS, END = 30, 90, 180  # seconds
UPLOADS, VIEWS = 10, 20  # arrivals a second, at random times
THREADS = 16  # of the web server, and as many of the catalogue
PICTURES, HEALTHY, SLOW = 4, 0.2, 2.0  # pictures at a time, seconds for one
PATIENCE = 8  # seconds after which a browser that got no thread goes away


@dataclass(frozen=True)
class Design:
    # Of the web server's call; the catalogue's is three quarters of it.
    timeout: float = 4.0
    uploads: float = float("inf")  # web threads that uploads may hold together
    queue: bool = False  # the catalogue hands the task over and does not wait
    limit: float = float("inf")  # tasks that may wait in the queue


# %% [markdown]
# First comes what all components share, and what each request leaves behind for us to count:


# %%
Steps = Generator[simpy.Event, Any, bool]  # each `yield` is where time passes


@dataclass
class Request:
    kind: str
    at: float
    ok: bool = False
    took: float = 0.0  # until there was an answer, or none
    ready: float = float("inf")  # when the thumbnail was there


class Platform:
    def __init__(self, fault: str, design: Design, seed: int) -> None:
        self.fault, self.design, self.chance = fault, design, random.Random(seed)
        self.env = simpy.Environment()
        self.web, self.catalogue = (simpy.Resource(self.env, THREADS) for _ in range(2))
        self.thumbnailer = simpy.Resource(self.env, PICTURES)
        self.uploading = 0
        self.requests: list[Request] = []
        self.seconds: list[tuple[int, int]] = []  # web threads held, tasks that wait

    def faulty(self) -> bool:
        return self.fault != "none" and FAULT_BEGINS <= self.env.now < FAULT_ENDS


# %% [markdown]
# Then come the thumbnailer and the catalogue. `look_up` holds the whole difference between designs:
# the same picture is made by the same thumbnailer, first come, first served, and the catalogue
# waits for it or does not.


# %%
def thumbnail(p: Platform, request: Request) -> Steps:
    with p.thumbnailer.request() as turn:
        yield turn
        broken = SLOW if p.fault == "slow" else FAULT_ENDS - p.env.now + HEALTHY
        yield p.env.timeout(broken if p.faulty() else HEALTHY)
    request.ready = p.env.now
    return True


def call(p: Platform, steps: Steps, timeout: float) -> Steps:
    answer = p.env.process(steps)
    yield answer | p.env.timeout(timeout)
    return answer.triggered and bool(answer.value)


def look_up(p: Platform, request: Request) -> Steps:
    with p.catalogue.request() as thread:
        yield thread
        yield p.env.timeout(0.02)
        if not p.design.queue:
            if p.fault == "refuses" and p.faulty():
                return False
            return (yield from call(p, thumbnail(p, request), 0.75 * p.design.timeout))
        if len(p.thumbnailer.queue) >= p.design.limit:
            return False
        p.env.process(thumbnail(p, request))
        return True


# %% [markdown]
# The web server serves two kinds of request from the same threads:


# %%
def serve(p: Platform, request: Request) -> Steps:
    with p.web.request() as thread:
        yield thread | p.env.timeout(PATIENCE)
        if thread.triggered:
            yield p.env.timeout(0.02)
            if request.kind == "view":
                request.ok = True
            elif p.uploading < p.design.uploads:
                p.uploading += 1
                request.ok = yield from call(p, look_up(p, request), p.design.timeout)
                p.uploading -= 1
    request.took = p.env.now - request.at
    return request.ok


def arrive(p: Platform, kind: str, rate: float) -> Steps:
    while True:
        yield p.env.timeout(p.chance.expovariate(rate))
        p.requests.append(Request(kind, p.env.now))
        p.env.process(serve(p, p.requests[-1]))


# %%
def watch(p: Platform) -> Steps:
    while True:
        p.seconds.append((p.web.count, len(p.thumbnailer.queue)))
        yield p.env.timeout(1)


def run(fault: str, design: Design, seed: int = 7) -> Platform:
    p = Platform(fault, design, seed)
    for process in (arrive(p, "upload", UPLOADS), arrive(p, "view", VIEWS), watch(p)):
        p.env.process(process)
    p.env.run(END)
    return p


def between(p: Platform, kind: str, begin: float, end: float) -> list[Request]:
    return [r for r in p.requests if r.kind == kind and begin <= r.at < end]


def answered(p: Platform, kind: str) -> float:
    return fmean(r.ok for r in between(p, kind, FAULT_BEGINS, FAULT_ENDS))


# %% [markdown]
# ## A minute of calls
#
# The fault lasts one minute. Either the thumbnailer is *slow*; or it *hangs*, taking calls and
# answering none; or it is down and *refuses* them at once. Of the requests that came in that
# minute, how many got their answer, and how long did it take until there was one, or an error?


# %%
def took(p: Platform, kind: str) -> list[float]:
    return [r.took for r in between(p, kind, FAULT_BEGINS, FAULT_ENDS)]


def p99(p: Platform, kind: str) -> float:
    return quantiles(took(p, kind), n=100)[98]


def show(name: str, p: Platform) -> None:
    for kind in ("upload", "view"):
        middle, slowest = median(took(p, kind)), p99(p, kind)
        print(f"{name:9}{kind:7}{answered(p, kind):9.1%}{middle:9.2f}{slowest:8.2f}")


# %%
SEEDS = (7, 1, 2)  # the first is shown, and what is said must hold for each
CALLS = Design()
faults = ("none", "slow", "hangs", "refuses")
calls = {fault: [run(fault, CALLS, seed) for seed in SEEDS] for fault in faults[1:]}
calls["none"] = [run("none", CALLS)]
print("fault    request answered  p50, s  p99, s")
for fault in faults:
    show(fault, calls[fault][0])

for fault in ("slow", "hangs"):
    assert all(answered(p, "upload") < 0.02 for p in calls[fault])
    assert all(answered(p, "view") < 2 / 3 for p in calls[fault])
assert all(answered(p, "upload") < 0.02 for p in calls["refuses"])
assert all(
    answered(p, "view") == 1 and p99(p, "view") < 0.025 for p in calls["refuses"]
)

# %% [markdown]
# **Slow is worse than down.** Hardly an upload succeeds in any of the three. But while the
# thumbnailer refuses, each view is answered in 0.02 s. While it is slow or hangs, more than a third
# of the views fail, after eight seconds in a line for a thread. Here is where the threads were:

# %%
fig, ax = plt.subplots()
held = {
    fault: [threads for threads, _ in calls[fault][0].seconds]
    for fault in ("slow", "refuses")
}
for fault, line in (("slow", "-"), ("refuses", "--")):
    ax.plot(held[fault], line)
    ax.annotate(fault, (60, 16.5 if fault == "slow" else 4))
ax.axvspan(FAULT_BEGINS, FAULT_ENDS, color="0.5", alpha=0.15, lw=0)
ax.set(
    xlabel="time, s (fault in grey)", ylabel="web threads held", yticks=range(0, 21, 4)
)
least = min(
    threads for p in calls["slow"] for threads, _ in p.seconds[35 : FAULT_ENDS + 10]
)
mean = fmean(held["refuses"][35:FAULT_ENDS])
fig.set_label(
    "Threads of the web server that are held, over time. While the thumbnailer is slow "
    f"it is {least} of {THREADS} in every second, and for ten seconds more; while it "
    f"refuses calls, it is {mean:.1f} on average."
)
assert least == THREADS
assert mean < 3

# %% [markdown]
# A slow answer holds a thread in each component above it. When uploads hold all threads of the web
# server, no other request gets one, whatever it asks for. It lasts longer than the fault, too: the
# thumbnailer first makes the pictures of those who have left.
#
# ## Which time-out is short enough
#
# Little's law[^little] says how many threads are held: arrivals a second times the seconds that
# each is held. Ten uploads a second, each given up after 4 s, need 40 threads, and there are 16.
# What 16 threads can bear is a time-out of 1.6 s. Google's book on site reliability does the same
# sum for a time-out of 100 s: 5% of the requests hang, and 80% fail.[^cascading]


# %%
def prompt(p: Platform) -> float:
    """The share of views in the bad minute that were answered within a second."""
    views = between(p, "view", FAULT_BEGINS, FAULT_ENDS)
    return fmean(r.ok and r.took <= 1 for r in views)


bearable = THREADS / UPLOADS
timeouts = (0.5, 1.25, 2, 2.5, 4)
shares = [
    [prompt(run("slow", Design(timeout=t), seed)) for seed in SEEDS] for t in timeouts
]
fig, ax = plt.subplots()
ax.plot(timeouts, [100 * fmean(seeds) for seeds in shares])
for each in zip(*shares, strict=True):
    ax.plot(timeouts, [100 * share for share in each], "o", color="C0")
ax.axvline(bearable, color="0.5", ls="--")
ax.annotate(
    "16 threads,\n10 uploads/s", (bearable, 85), (6, 0), textcoords="offset points"
)
ax.set(xlabel="time-out of the upload's call, s", ylabel="views answered within 1 s, %")
ax.set_ylim(0, 108)
fig.set_label(
    "Views answered within a second, against the time-out of the upload's call, for "
    f"three seeds. Up to 1.25 s it is {min(shares[1]):.0%}, at 2 s between "
    f"{min(shares[2]):.0%} and {max(shares[2]):.0%}, at 2.5 s {max(shares[3]):.0%} at "
    f"most. A dashed line marks {bearable} s."
)
assert min(shares[0] + shares[1]) > 0.99
assert max(shares[3] + shares[4]) < 0.3

# %% [markdown]
# Below the limit the views are safe. Just above it the line for threads grows slowly, and chance
# decides how long it gets in a minute; a dot is a seed. From 2.5 s on most views are late.
#
# A healthy upload is answered within 0.5 s, 99 times in 100, so a time-out of 1 s would do. If
# nobody tells them, clients [wait longer, or for
# ever](../best-practices/retries-and-timeouts.md#put-a-time-out-on-every-call).
#
# ## Three ways to part them
#
# - A **pool**: uploads may hold ten of the 16 threads, and one more is refused at once.
# - A **queue**: the catalogue hands the task over, and answers "accepted".
# - A **limit** to that queue: with 60 tasks waiting, the next upload is refused.

# %%
designs = {
    "pool": Design(uploads=10),
    "queue": Design(queue=True),
    "limit": Design(queue=True, limit=60),
}
slow = {
    name: [run("slow", design, seed) for seed in SEEDS]
    for name, design in designs.items()
}
slow = {"calls": calls["slow"]} | slow
print("slow     request answered  p50, s  p99, s")
for name, runs in slow.items():
    show(name, runs[0])
made = {
    name: [sum(FAULT_BEGINS <= r.ready < FAULT_ENDS for r in p.requests) for p in runs]
    for name, runs in slow.items()
}
print("\nthumbnails made in that minute")
print("  ".join(f"{name} {made[name][0]}" for name in made))

hung = [run("hangs", designs["queue"], seed) for seed in SEEDS]
assert p99(calls["none"][0], "upload") < 0.5
assert all(answered(p, "view") == 1 for name in designs for p in slow[name])
assert all(answered(p, "upload") < 0.02 for p in slow["pool"])
assert all(
    answered(p, "upload") == 1 and p99(p, "upload") < 0.045
    for p in slow["queue"] + hung
)
assert all(0.25 < answered(p, "upload") < 1 / 3 for p in slow["limit"])
assert all(abs(pictures - 120) <= 5 for name in made for pictures in made[name])
for p in slow["calls"]:
    assert sum(r.ok and FAULT_BEGINS <= r.ready < FAULT_ENDS for r in p.requests) <= 12

# %% [markdown]
# Each of the three saves the views. Only the queue saves the uploads: all are accepted, in 0.04 s,
# and so they are if the thumbnailer hangs. With the limit it is less than a third. But **no design
# made more thumbnails**. Four at a time, 2 s each, are 120 in a minute, whoever waits for them. Of
# those made for calls, nine in ten were for uploaders who had been told of an error already.
#
# ## Where the pain went


# %%
def wait(p: Platform, second: int) -> float:
    """How long those wait for their thumbnail who were told "accepted" or saw it."""
    waits = [r.ready - r.at for r in between(p, "upload", second, second + 3) if r.ok]
    return fmean(waits) if waits else float("nan")


fig, ax = plt.subplots()
seconds = range(0, 150, 3)
labels = {"queue": ("-", 45, 50), "limit": ("--", 40, 26), "calls": (":", 100, 8)}
for name, (line, x, y) in labels.items():
    ax.plot(seconds, [wait(slow[name][0], s) for s in seconds], line)
    ax.annotate(name, (x, y))
ax.axvspan(FAULT_BEGINS, FAULT_ENDS, color="0.5", alpha=0.15, lw=0)
ax.set(xlabel="time of the upload, s (fault in grey)", ylabel="until its thumbnail, s")
ax.set_ylim(0, 58)
longest = {
    name: [
        max(r.ready - r.at for r in between(p, "upload", 0, 150) if r.ok)
        for p in slow[name]
    ]
    for name in labels
}
fig.set_label(
    "How long accepted uploads waited for their thumbnail, by time of upload. With the "
    f"queue the wait rises to {longest['queue'][0]:.0f} s and is above normal for "
    f"almost a minute after the fault; with the limit it is {longest['limit'][0]:.0f} "
    "s at most and falls at once."
)
assert all(45 < w < 55 for w in longest["queue"])
assert all(30 < w < 35 for w in longest["limit"])

# %% [markdown]
# What could not be made in the bad minute waits, and is made in the minute after it. How long that
# takes can be [worked out on paper](how_long_is_the_line.py).
#
# Now suppose that the uploader does need the picture, stays on the page and waits. After eight
# seconds it is too late. How many see their thumbnail in time, of those who upload during the fault,
# in the 30 s after it, and in the 30 s after that?

# %%
spans = {"fault": (30, 90), "30 s after": (90, 120), "60 s after": (120, 150)}
print("      " + "".join(f"{span:>11}" for span in spans))
in_time: dict[str, list[list[float]]] = {}
for name, runs in slow.items():
    in_time[name] = [
        [
            fmean(r.ok and r.ready - r.at <= 8 for r in between(p, "upload", *span))
            for p in runs
        ]
        for span in spans.values()
    ]
    print(f"{name:6}" + "".join(f"{shares[0]:11.0%}" for shares in in_time[name]))

for name in slow:
    assert max(in_time[name][0]) < 0.05
assert max(in_time["queue"][1]) < 0.2
assert min(in_time["calls"][1]) > 0.7
assert min(in_time["limit"][1]) > 0.95
left = {name: [p.seconds[FAULT_ENDS][1] for p in slow[name]] for name in slow}
assert max(left["calls"]) < min(left["queue"]) / 2

# %% [markdown]
# During the fault no design helps those who wait. After it **the queue is the worst of the four**:
# the thumbnailer is healthy, and busy with pictures for people who left long ago. With calls, the
# threads that ran out had kept more than half of that work away from it. The limit does so on
# purpose, and no view fails.
#
# A limit counts tasks, and a promise counts seconds. 60 tasks are 3 s of work for the healthy
# thumbnailer and 30 s for the slow one. [Alert on the age](../use-cases/load-levelling.md) of the
# oldest task, not on the length.
#
# ## What to do
#
# 1. **Shorten the time-out first.** Arrivals times time-out must be less than the threads. It is
#    one number, and here it saves the views. The price is that an answer which comes later
#    is lost.
# 2. **Give a neighbour a pool of its own**, a *bulkhead*, where requests that need it share threads
#    with requests that do not.
# 3. **Put a queue between them if the caller can go on without the answer.** It turns failures into
#    waiting, and that is [its reason](../why.md#resilience). Then somebody has to design what a
#    page shows that was "accepted" and has no picture for 50 s.
# 4. **Give the queue a limit**, and [tell the producer](../patterns/backpressure.md). What is
#    worthless late should [expire](../patterns/message-expiration.md).
# 5. **Do not use a queue to answer somebody who waits.** It adds no capacity. Answer, or refuse.
#
# With other numbers the shares are others. What stays is that a time-out above threads ÷ arrivals
# spreads the fault, and that a queue moves work in time and does none of it. Change the constants
# and see which assertion fails first.
#
# [^little]: J. D. C. Little, "A Proof for the Queuing Formula", *Operations Research* 9 (3), 1961. [References](../references.md#little-1961).
# [^cascading]: B. Beyer, C. Jones, J. Petoff, N. R. Murphy (eds.), *Site Reliability Engineering*, "Addressing Cascading Failures", [chapter 22](https://sre.google/sre-book/addressing-cascading-failures/), *Bimodal latency*. [References](../references.md#beyer-2016).
