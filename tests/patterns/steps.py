"""Steps that a test puts into a snippet's copy, to stop and kill its process just there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.patterns.stage import Actor, Stage

#: At a step, a process says so; the first one that finds a request to stop there stops. It is a
#: module of its own, for a step may be in the snippet or in what it imports.
MODULE = "steps_of_the_test"
STEP = """import asyncio
from pathlib import Path


async def step(name: str) -> None:
    here = Path(__file__).parent
    with (here / "steps").open("a") as steps:
        steps.write(f"{name}\\n")
    try:
        (here / f"stop at {name}").unlink()
    except FileNotFoundError:
        return
    with (here / "steps").open("a") as steps:
        steps.write(f"stopped at {name}\\n")
    while not (here / f"go on from {name}").exists():
        await asyncio.sleep(0.02)
"""


def step(name: str) -> str:
    """Return the statement that is a step, for the test to put into a snippet's copy."""
    return f'await __import__("{MODULE}").step("{name}")'


class Steps:
    """The steps of a snippet's copy, which the test has put there."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.folder = stage.snippet.parent
        (self.folder / f"{MODULE}.py").write_text(STEP)

    def count(self, name: str) -> int:
        """Return how often a process has come to this step."""
        said = self.folder / "steps"
        return said.read_text().splitlines().count(name) if said.exists() else 0

    def stop_next_at(self, name: str) -> Callable[[], bool]:
        """Stop the next process that comes to this step; return what tells whether it has."""
        before = self.count(f"stopped at {name}")
        (self.folder / f"stop at {name}").touch()
        return lambda: self.count(f"stopped at {name}") > before

    def go_on(self, name: str) -> None:
        """Let the process that stopped at this step continue."""
        (self.folder / f"go on from {name}").touch()

    def stop_at(self, name: str, function: str, **arguments: Any) -> Actor:
        """Call a function in a process of its own, and return when it has stopped at this step."""
        stopped = self.stop_next_at(name)
        actor = self.stage.spawn(function, **arguments)
        assert self.stage.happens(stopped, actor)
        return actor

    def kill_at(self, name: str, function: str, **arguments: Any) -> None:
        """Call a function in a process of its own, and kill it at this step."""
        self.stop_at(name, function, **arguments).kill()
