# ---
# description: >-
#   A lab: a service is slow for ten seconds, and the retries of its clients keep it down. Fixed
#   pauses, back-off, jitter, a retry budget and a circuit breaker, simulated and asserted.
# keywords: "back-off, backoff, jitter, circuit breaker, retry budget, thundering herd, cascading failure, overload, exponential backoff, metastable"
# ---

# %% [markdown]
# # The retry storm
#
# The catalogue of the video platform has a bad moment: for ten seconds, each call takes ten times
# as long as usual. Then the cause is gone, and it is as fast as before. A minute later it still
# answers nobody in time. Nobody attacks it: its own web servers try again.
#
# Which way of trying again keeps a service down, and which does not?
#
# ## The model
#
# The catalogue works on ten calls at a time, 50 ms each: 200 a second. Calls wait in a line, first
# come, first served; who would have to wait for more than five seconds is refused at once. A caller
# gives up after one second, and the catalogue does not notice: it does that work all the same.
#
# 140 users come each second, at random times, however many have failed before. That is 70% of what
# the catalogue can do. One of 20 web servers calls it for them.
#
# The model leaves out what is worse in real life: a service gets slower when it has too much to do, users press
# *reload*, and the attempts of several layers
# [multiply](../best-practices/retries-and-timeouts.md#choose-one-place-for-the-retry).

# %%
import heapq
import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import simpy
from matplotlib.axes import Axes

WORKERS, WORK, TIMEOUT = 10, 0.05, 1.0  # calls at a time; seconds
CAPACITY = WORKERS / WORK  # calls a second
SLOW_BEGINS, SLOW_ENDS, END = 20, 30, 90  # seconds
SLOWER = 10  # times
USERS, WEB_SERVERS = 140, 20
Steps = Generator[simpy.Event, Any, bool]  # each `yield` is where time passes

# %% [markdown]
# First come, first served means that we know when a call will be done as soon as it comes. So the
# line is no list of calls, but a time for each of the ten workers: when it will be free.


# %%
@dataclass
class Service:
    env: simpy.Environment
    chance: random.Random
    room: float = 5.0  # in the line, in seconds
    slow_until: float = SLOW_ENDS
    down_until: float = 0.0
    faulty: float = 0.0  # share of the calls that fail at once
    free_at: list[float] = field(default_factory=lambda: [0.0] * WORKERS)
    calls: list[float] = field(default_factory=list)

    def call(self) -> Steps:
        now = self.env.now
        self.calls.append(now)
        begins = max(now, self.free_at[0])
        if (
            now < self.down_until
            or begins - now > self.room
            or self.chance.random() < self.faulty
        ):
            return False
        work = WORK * (SLOWER if SLOW_BEGINS <= begins < self.slow_until else 1)
        heapq.heapreplace(self.free_at, begins + work)
        answer = begins + work - now
        yield self.env.timeout(min(answer, TIMEOUT))
        return answer <= TIMEOUT


# %% [markdown]
# A policy says how often a request is tried again and how long it pauses before that. A *budget*
# earns a tenth of a retry with each request and holds ten at most. A *circuit breaker* opens after
# ten failures in a row; then all is refused, but for a single call every five seconds, until one
# succeeds. Each web server has its own.


# %%
def fixed(_attempt: int, _chance: random.Random) -> float:
    return 1.0


def exponential(attempt: int, _chance: random.Random) -> float:
    return min(0.5 * 2.0**attempt, 8.0)


def full_jitter(attempt: int, chance: random.Random) -> float:
    return chance.uniform(0, exponential(attempt, chance))


Pause = Callable[[int, random.Random], float]


@dataclass(frozen=True)
class Policy:
    pause: Pause = full_jitter
    retries: int = 3
    budget: float = float("inf")  # retries earned by each request
    breaker: bool = False


POLICIES = {
    "no retry": Policy(retries=0),
    "fixed": Policy(fixed),
    "exponential": Policy(exponential),
    "full jitter": Policy(full_jitter),
    "budget": Policy(full_jitter, budget=0.1),
    "breaker": Policy(full_jitter, breaker=True),
}


# %%
@dataclass
class WebServer:
    policy: Policy
    tokens: float = 10.0
    failures: int = 0
    shut_until: float = 0.0

    def may_call(self, now: float) -> bool:
        if not self.policy.breaker or self.failures < 10:
            return True
        if now < self.shut_until:
            return False
        self.shut_until = now + 5  # this one call may try
        return True

    def heard(self, ok: bool, now: float) -> None:
        self.failures = 0 if ok else self.failures + 1
        if self.failures == 10:
            self.shut_until = now + 5

    def may_retry(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


# %% [markdown]
# Next come a user's request, and a run of 90 seconds:


# %%
def request(service: Service, server: WebServer, served: list[float]) -> Steps:
    env, policy = service.env, server.policy
    server.tokens = min(10.0, server.tokens + policy.budget)
    for attempt in range(policy.retries + 1):
        if attempt:
            if not server.may_retry():
                return False
            yield env.timeout(policy.pause(attempt - 1, service.chance))
        if not server.may_call(env.now):
            return False
        ok = yield from service.call()
        server.heard(ok, env.now)
        if ok:
            served.append(env.now)
            return True
    return False


# %%
@dataclass
class Run:
    came: list[float]
    calls: list[float]
    served: list[float]

    def normal_after(self, users: float = USERS) -> float:
        """Seconds from the cause's end until three in a row serve 80% of the users."""
        served = Counter(map(int, self.served))
        good = [served[second] > 0.8 * users for second in range(SLOW_ENDS, END)]
        return next(
            (s for s in range(len(good) - 2) if all(good[s : s + 3])), float("inf")
        )


def run(policy: Policy, seed: int = 7, users: float = USERS, **of_service: Any) -> Run:
    env, chance = simpy.Environment(), random.Random(seed)
    service = Service(env, chance, **of_service)
    servers = [WebServer(policy) for _ in range(WEB_SERVERS)]
    result = Run([], service.calls, [])

    def arrive() -> Steps:
        while True:
            yield env.timeout(chance.expovariate(users))
            result.came.append(env.now)
            env.process(request(service, chance.choice(servers), result.served))

    env.process(arrive())
    env.run(END)
    return result


# %% [markdown]
# ## Ten bad seconds
#
# How many calls a second does the catalogue get in the ten seconds, and how many at the end, when
# the cause has been gone for 40 s? How many users a second does it serve at the end, and after how
# many seconds did it serve 80% of them again (*inf*: not in this run)?


# %%
def rate(times: list[float], begin: int, end: int) -> float:
    return sum(begin <= time < end for time in times) / (end - begin)


SEEDS = (7, 1, 2)  # the first is shown, and what is said must hold for each
runs = {
    name: [run(policy, seed) for seed in SEEDS] for name, policy in POLICIES.items()
}
print("           calls calls served normal")
print("            10 s   end    end  after")
for name, (shown, *_) in runs.items():
    bad = rate(shown.calls, SLOW_BEGINS, SLOW_ENDS)
    late, served = (rate(times, END - 20, END) for times in (shown.calls, shown.served))
    print(f"{name:11}{bad:5.0f}{late:6.0f}{served:7.0f}{shown.normal_after():7.0f}")

for r in runs["fixed"] + runs["exponential"] + runs["full jitter"]:
    assert rate(r.calls, END - 20, END) > 2.5 * CAPACITY
    assert rate(r.served, END - 20, END) == 0
three = (runs[name] for name in ("no retry", "budget", "breaker"))
for plain, budget, breaker in zip(*three, strict=True):
    assert (
        breaker.normal_after() <= 5 < plain.normal_after() < budget.normal_after() < 20
    )


# %%
def draw(what: str, labels: dict[str, tuple[str, float, float]]) -> Axes:
    _, ax = plt.subplots()
    for name, (line, x, y) in labels.items():
        counts = Counter(map(int, getattr(runs[name][0], what)))
        ax.plot([counts[second] for second in range(END)], line)
        ax.annotate(name, (x, y))
    ax.axvspan(SLOW_BEGINS, SLOW_ENDS, color="0.5", alpha=0.15, lw=0)
    ax.set(xlabel="time, s (cause in grey)")
    return ax


ax = draw(
    "calls",
    {"full jitter": ("-", 1, 560), "budget": ("--", 25, 270), "breaker": (":", 32, 45)},
)
ax.axhline(CAPACITY, color="0.5", lw=1)
ax.annotate("capacity", (1, CAPACITY + 12), color="0.5")
ax.set(ylabel="calls a second", ylim=(0, 700))
after = {name: rate(shown.calls, SLOW_ENDS, END) for name, (shown, *_) in runs.items()}
ax.figure.set_label(
    "Calls a second that reach the catalogue. With full jitter it is "
    f"{after['full jitter']:.0f} once the cause is gone, far above the capacity of "
    f"{CAPACITY:.0f}, to the end of the run. With a budget it is "
    f"{after['budget']:.0f}. With a breaker it drops almost to none in the bad "
    f"seconds, and is {after['breaker']:.0f} after them."
)

# %% [markdown]
# **The pauses make no difference.** Fixed, exponential or with jitter: a minute later each of the
# three serves nobody. 140 users who fail are 560 calls, and the catalogue can do 200. A pause moves
# a call to a later second, and there the calls of later users are waiting. It works on 200 calls in
# each second, and every one of those callers has left.
#
# This is a *metastable failure*: what started it is gone, and what keeps it going is the system's
# own work. It lasts until the load is reduced or the retries are changed.[^metastable] M. Brooker,
# who made jitter popular, says of back-off that in the long term it is worth something only if it
# reduces the work.[^backoff]

# %%
ax = draw(
    "served",
    {"full jitter": ("-", 60, 6), "budget": ("--", 44, 40), "breaker": (":", 21, 165)},
)
ax.set(ylabel="users served a second", ylim=(-5, 215))
normal = {name: shown.normal_after() for name, (shown, *_) in runs.items()}
ax.figure.set_label(
    f"Users served a second. All three fall from about {USERS} to almost none in the "
    f"bad seconds. With a breaker it is normal again {normal['breaker']:.0f} s after "
    f"the cause is gone, with a budget {normal['budget']:.0f} s after, with full "
    "jitter not at all."
)

# %% [markdown]
# A **budget** makes 154 calls of 140 users who fail, not 560. So the line drains, a little more
# slowly than without retries. Google's book on site reliability names the same tenth, beside
# three attempts at most.[^overload] A **circuit breaker** takes nearly all load away: the line drains at once, and
# one call every five seconds finds out when all is well.
#
# ## Which load is safe
#
# Here are the same ten seconds at other loads, with one retry and with three:

# %%
loads = (10, 20, 30, 40, 60, 80)  # per cent of the capacity
fig, ax = plt.subplots()
for attempts, line, x in ((4, "o-", 7), (2, "s--", 53)):
    policy, safe, shares = Policy(retries=attempts - 1), 100 / attempts, []
    for load in loads:
        tries = [run(policy, seed, users=load / 100 * CAPACITY) for seed in SEEDS[:2]]
        at_end = [rate(r.served, 60, END) / rate(r.came, 60, END) for r in tries]
        assert min(at_end) > 0.97 if load < safe else max(at_end) == 0
        shares.append(100 * fmean(at_end))
    ax.plot(loads, shares, line)
    ax.annotate(f"{attempts} attempts", (x, 50))
ax.set(xlabel="load before, % of the capacity", ylabel="users served at the end, %")
assert all(
    run(Policy(p), users=0.2 * CAPACITY).normal_after(40) < 15
    for p in (fixed, exponential)
)
fig.set_label(
    "Users served at the end of the run against the load. With four attempts it is all "
    "of them up to a load of 20% of the capacity and none from 30% on; with two "
    "attempts it is all up to 40% and none from 60% on."
)

# %% [markdown]
# **A load is safe while load times attempts is below the capacity**: the service can then do all
# that retries can ask of it. With four attempts that is a quarter of the capacity, with two it is
# half. The paper on metastable failures has the same sum for a database: 300 queries a second, two
# attempts, safe below 150. Above that a system is *vulnerable*, and many are run there on purpose,
# as it is cheaper.[^metastable] Then something has to cut the retries off.
#
# ## What the service itself can do
#
# If the line is shorter than the time-out, each call that is worked on has a caller who still
# waits. Here the line has room for half a second instead of five, with the fixed pause:

# %%
short = [run(POLICIES["fixed"], seed, room=0.5).normal_after() for seed in SEEDS]
print(f"room for 0.5 s: normal after {short[0]} s")
assert max(short) <= 1

# %% [markdown]
# A short line is [backpressure](../patterns/backpressure.md): refuse early what would come too late. A
# refusal costs the service nothing here. In real life it must cost little.
#
# ## Why try again at all
#
# Most faults are small. Here the bad seconds are left out, and 5% of all calls fail at random:

# %%
lost: dict[str, list[float]] = {}
for name in ("no retry", "full jitter", "budget", "breaker"):
    tries = [run(POLICIES[name], seed, faulty=0.05, slow_until=0) for seed in SEEDS]
    lost[name] = [1 - len(r.served) / len(r.came) for r in tries]
print("users not served")
for name, shares in lost.items():
    print(f"{name:11}{shares[0]:6.2%}")
assert all(0.04 < share < 0.06 for share in lost.pop("no retry"))
assert all(share < 0.002 for shares in lost.values() for share in shares)

# %% [markdown]
# Retries turn one lost user in 20 into fewer than one in 500. Neither the budget nor the breaker
# gets in their way: there are few retries, and never ten failures in a row.
#
# ## What back-off and jitter are for
#
# Back-off and jitter are for callers of whom there is a fixed number, each of which goes on until it succeeds. A
# thousand workers are connected to a broker. It restarts, and all lose their connection at once.
# For ten seconds it refuses; then it takes 200 connections a second. A worker gives up after a
# second in line, pauses and comes again. How many calls are made, how many in the busiest tenth of
# a second once the broker is back, and when is the last worker connected?

# %%
HERD, BACK = 1000, 10  # workers, and the second in which the broker is back


def connect(broker: Service, pause: Pause, connected: list[float]) -> Steps:
    # Not all notice in the same instant.
    yield broker.env.timeout(broker.chance.uniform(0, 0.1))
    attempt = 0
    while not (yield from broker.call()):
        yield broker.env.timeout(pause(attempt, broker.chance))
        attempt += 1
    connected.append(broker.env.now - BACK)
    return True


def herd(pause: Pause, seed: int) -> tuple[list[float], list[float]]:
    broker = Service(
        simpy.Environment(), random.Random(seed), down_until=BACK, slow_until=0
    )
    connected: list[float] = []
    for _ in range(HERD):
        broker.env.process(connect(broker, pause, connected))
    broker.env.run(BACK + 60)
    return broker.calls, connected


# %%
pauses = {"fixed": fixed, "exponential": exponential, "full jitter": full_jitter}
herds = {name: [herd(pause, seed) for seed in SEEDS] for name, pause in pauses.items()}
seconds = [half / 2 for half in range(100)]
fig, ax = plt.subplots()
print("            calls  peak connected last")
print("                   0.1s            s")
looks = ((":", 27, 130), ("--", 31, 520), ("-", 8, 900))
for (name, waves), (line, x, y) in zip(herds.items(), looks, strict=True):
    tried, connected = waves[0]
    busiest = max(Counter(int(10 * time) for time in tried if time >= BACK).values())
    print(f"{name:11}{len(tried):6}{busiest:6}{len(connected):10}{connected[-1]:5.0f}")
    ax.plot(seconds, [bisect(connected, second) for second in seconds], line)
    ax.annotate(name, (x, y))
ax.set(
    xlabel="time since the broker is back, s",
    ylabel="workers connected",
    ylim=(0, 1050),
)
last = {name: waves[0][1][-1] for name, waves in herds.items()}
fig.set_label(
    "Workers connected, over the time since the broker is back. With full jitter all "
    f"{HERD} are after {last['full jitter']:.0f} s. With exponential pauses it goes up "
    f"in steps of 200, and the last comes after {last['exponential']:.0f} s. With a "
    "fixed pause it stays at 200."
)
assert all(len(connected) == 200 for _, connected in herds["fixed"])
assert all(len(c) == HERD and 40 < c[-1] < 45 for _, c in herds["exponential"])
assert all(len(c) == HERD and c[-1] < 10 for _, c in herds["full jitter"])

# %% [markdown]
# All thousand come in the same moment, 200 are connected within a second, and the others have left
# when their turn comes. With a fixed pause they are back, all together, before the line has come to
# its end, and nobody after the first 200 is connected. **Back-off** gives the line the time to
# drain, so each wave connects 200 more. **Jitter** dissolves the wave: the broker is busy all the
# time with workers who are there, and all are connected in less than ten seconds instead of more
# than forty.
#
# ## What to do
#
# 1. **Multiply** load by attempts, over all layers. Above the capacity, a short fault can last.
# 2. **Give each client a budget or a breaker.** A pause is no substitute. Not shown here is what a
#    breaker costs in a partial outage: if it opens while some calls still succeed, it makes the
#    outage whole for its users.[^breaker]
# 3. **Keep the line of the service shorter than its callers' patience**, and refuse the rest. For
#    messages, [expiration](../patterns/message-expiration.md) does the same.
# 4. **Give workers back-off with jitter**, and no end: to [come
#    back](../best-practices/retries-and-timeouts.md#come-back-slowly) after an outage, and for [a
#    task that failed](../patterns/delayed-retry.md).
# 5. **When it has happened, take load away**: switch the retries off, or refuse users, until the
#    line is empty.
#
# With other numbers the results have other digits, and a milder cause may pass above the limit as
# well. Below it, the service comes back with each of the pauses.
#
# [^metastable]: N. Bronson, A. Aghayev, A. Charapko, T. Zhu, "Metastable Failures in Distributed Systems", HotOS 2021, [PDF](https://sigops.org/s/conferences/hotos/2021/papers/hotos21-s11-bronson.pdf). [References](../references.md#bronson-2021).
# [^backoff]: M. Brooker, "What is Backoff For?", [2022-08-11](https://brooker.co.za/blog/2022/08/11/backoff.html). [References](../references.md#brooker-backoff).
# [^overload]: B. Beyer, C. Jones, J. Petoff, N. R. Murphy (eds.), *Site Reliability Engineering*, chapter 21, [Handling Overload](https://sre.google/sre-book/handling-overload/). [References](../references.md#beyer-2016).
# [^breaker]: M. Brooker, "Fixing retries with token buckets and circuit breakers", [2022-02-28](https://brooker.co.za/blog/2022/02/28/retries.html). [References](../references.md#brooker-backoff).
