# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Utilisation and waiting: why 80 % busy is the limit. A simulation."""

import heapq
import random
from collections.abc import Callable

TASKS = 200_000
Draw = Callable[[random.Random], float]


def mean_wait(load: float, workers: int, work: Draw) -> float:
    """Return the mean wait of a task, in units of the mean work."""
    chance = random.Random(1)
    now = waited = 0.0
    free_at = [0.0] * workers
    for _ in range(TASKS):
        now += chance.expovariate(load * workers)  # The next one arrives.
        start = max(now, heapq.heappop(free_at))
        waited += start - now
        heapq.heappush(free_at, start + work(chance))
    return waited / TASKS


def always_1(_: random.Random) -> float:
    return 1


def mixed(chance: random.Random) -> float:
    return chance.expovariate(1)


def some_long(chance: random.Random) -> float:
    """Nine short clips for each film."""
    return 5.5 if chance.random() < 0.1 else 0.5


def main() -> None:
    print("busy   formula   always 1   mixed   some long   10 workers, mixed")
    for load in (0.5, 0.7, 0.8, 0.9, 0.95):
        print(
            f"{load:4.0%}"
            f"{load / (1 - load):10.1f}"
            f"{mean_wait(load, 1, always_1):11.1f}"
            f"{mean_wait(load, 1, mixed):8.1f}"
            f"{mean_wait(load, 1, some_long):12.1f}"
            f"{mean_wait(load, 10, mixed):20.1f}"
        )


if __name__ == "__main__":
    main()
