# %% [markdown]
# # The retry storm
#
# The catalogue of the video platform has a bad moment: for ten seconds, each call takes ten times
# as long as usual. Then the cause is gone, and its processors are as fast as before. An hour later
# it has still not answered anybody in time. Nobody has attacked it. Its own web servers try again.
#
# Which way of trying again does this, and which does not?
#
# ## The model
#
# The catalogue works on ten calls at a time, 50 ms each: 200 a second. Calls wait in a line, first
# come, first served; who would have to wait for more than five seconds is refused at once. A caller
# gives up after one second, and the catalogue does not notice: it does that work all the same.
#
# 140 users come in each second, at random times, however many have failed before. That is 70% of
# what the catalogue can do. One of 20 web servers calls it for them.
#
# Left out, and in real life worse: a service gets slower when it has too much to do, users press
# *reload*, and [several layers try again](../best-practices/retries-and-timeouts.md#choose-one-place-for-the-retry).

# %%
import heapq
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import simpy

WORKERS, WORK, TIMEOUT = 10, 0.05, 1.0  # calls at a time; seconds
CAPACITY = WORKERS / WORK  # calls a second
SLOW_BEGINS, SLOW_ENDS, SLOWER, END = 20, 30, 10, 90  # seconds, and how many times slower
USERS, WEB_SERVERS = 140, 20
Steps = Generator[simpy.Event, Any, bool]  # each `yield` is where time passes

# %% [markdown]
# First come, first served means that we know when a call will be done as soon as it comes. So the
# line is no list of calls, but a time for each of the ten workers: when it will be free.


# %%
class Service:
    def __init__(self, env: simpy.Environment, random: Random, room: float = 5.0) -> None:
        self.env, self.random, self.room = env, random, room  # room in the line, in seconds
        self.free_at = [0.0] * WORKERS
        self.calls: list[float] = []
        self.faulty, self.down_until = 0.0, 0.0
        self.slow = (SLOW_BEGINS, SLOW_ENDS)

    def call(self) -> Steps:
        now = self.env.now
        self.calls.append(now)
        begins = max(now, self.free_at[0])
        if now < self.down_until or begins - now > self.room or self.random.random() < self.faulty:
            return False
        work = WORK * (SLOWER if self.slow[0] <= begins < self.slow[1] else 1)
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
def fixed(_attempt: int, _random: Random) -> float:
    return 1.0


def exponential(attempt: int, _random: Random) -> float:
    return min(0.5 * 2**attempt, 8.0)


def full_jitter(attempt: int, random: Random) -> float:
    return random.uniform(0, exponential(attempt, random))


@dataclass(frozen=True)
class Policy:
    pause: Callable[[int, Random], float] = full_jitter
    retries: int = 3
    budget: float = float("inf")  # retries earned by each request
    breaker: bool = False


POLICIES = {
    "no retry": Policy(retries=0),
    "fixed": Policy(fixed),
    "exponential": Policy(exponential),
    "full jitter": Policy(full_jitter),
    "+ budget": Policy(full_jitter, budget=0.1),
    "+ breaker": Policy(full_jitter, breaker=True),
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
# A user's request, and a run of 90 seconds:


# %%
def request(service: Service, server: WebServer, served: list[float]) -> Steps:
    env, policy = service.env, server.policy
    server.tokens = min(10.0, server.tokens + policy.budget)
    for attempt in range(policy.retries + 1):
        if attempt:
            if not server.may_retry():
                return False
            yield env.timeout(policy.pause(attempt - 1, service.random))
        if not server.may_call(env.now):
            return False
        ok = yield from service.call()
        server.heard(ok, env.now)
        if ok:
            served.append(env.now)
            return True
    return False


@dataclass
class Run:
    came: list[float]
    calls: list[float]
    served: list[float]

    def recovered(self, users: float = USERS) -> float:
        """Seconds after the slow ten until three seconds in a row are served almost in full."""
        second = Counter(map(int, self.served))
        good = [second[s] > 0.8 * users for s in range(END)]
        return next((s - SLOW_ENDS for s in range(SLOW_ENDS, END - 2) if all(good[s : s + 3])), float("inf"))
