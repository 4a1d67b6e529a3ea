"""How far work was done out of order."""

from __future__ import annotations

from collections.abc import Sequence


def overtook(done: Sequence[int]) -> int:
    """Return how many were done while an earlier one was not."""
    return sum(min(done[place:]) < number for place, number in enumerate(done))
