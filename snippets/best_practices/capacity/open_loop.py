# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Load tests: who waits for the answer does not see how long others wait."""

import statistics

SECONDS, RATE = 100, 100  # what the users do: 100 uploads a second
QUICK = 0.005  # a publish with its confirm takes 5 ms
STALL = range(50, 60)  # for 10 s the broker does not answer


def answered(asked: float, free: float) -> float:
    """Return when a publish is confirmed that is asked for at `asked`."""
    start = max(asked, free)
    if int(start) in STALL:
        start = float(STALL.stop)
    return start + QUICK


def closed() -> list[float]:
    """Publish, wait for the confirm, publish: it stops with the broker."""
    waits, now = [], 0.0
    while now < SECONDS:
        done = answered(now, 0)
        waits.append(done - now)
        now = max(now + 1 / RATE, done)
    return waits


def opened() -> list[float]:
    """Publish by the clock, and measure from when it was due."""
    waits, free = [], 0.0
    for number in range(SECONDS * RATE):
        due = number / RATE
        free = answered(due, free)
        waits.append(free - due)
    return waits


def main() -> None:
    for name, waits in (("closed loop", closed()), ("open loop", opened())):
        hundredths = statistics.quantiles(waits, n=100)
        print(
            f"{name:11}: {len(waits)} publishes,",
            f"median {hundredths[49] * 1000:.0f} ms,",
            f"99 % within {hundredths[98] * 1000:.0f} ms",
        )


if __name__ == "__main__":
    main()
