# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Sequence numbers: see gaps, duplicates and what comes out of order."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple


class Step(NamedTuple):
    video: str
    number: int  # counted by the one who publishes, for each video
    name: str


@dataclass
class InOrder:
    """Hand steps on in order; keep what comes too early, up to a limit."""

    room: int = 100
    next: defaultdict[str, int] = field(
        default_factory=lambda: defaultdict(lambda: 1)
    )
    early: dict[tuple[str, int], Step] = field(default_factory=dict)

    def take(self, step: Step) -> list[Step]:
        """Return what may be handled now."""
        if step.number < self.next[step.video]:
            print(f"  {step.video} {step.number}: a duplicate")
            return []
        if step.number > self.next[step.video]:
            if len(self.early) >= self.room:
                raise OverflowError("too many gaps: stop, and look")
            self.early[step.video, step.number] = step
            missing = self.next[step.video]
            print(f"  {step.video} {step.number}: waits for {missing}")
            return []
        ready = [step]
        self.next[step.video] += 1
        while later := self.early.pop(
            (step.video, self.next[step.video]), None
        ):
            ready.append(later)
            self.next[step.video] += 1
        return ready

    def gaps(self) -> dict[str, int]:
        """Return the first number that is missing: alert if it stays."""
        return {video: self.next[video] for video, _ in self.early}


def main() -> None:
    upload = Step("cat", 1, "upload")
    transcode = Step("cat", 2, "transcode")
    notify = Step("cat", 3, "notify")
    order = InOrder()
    for step in (
        upload,
        notify,  # It overtook, as transcode had to be tried again.
        Step("owl", 1, "upload"),
        upload,  # It is redelivered.
        transcode,
        Step("owl", 3, "notify"),  # Number 2 never comes.
    ):
        for ready in order.take(step):
            print(f"{ready.video} {ready.number}: {ready.name}")
    print("gaps:", order.gaps())


if __name__ == "__main__":
    main()
