"""The faults that have several steps do them in order, on machines that only write down."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.atlas import questions
from tests.atlas.questions import QUESTIONS, Scene
from tests.brokers.cluster.machines import NUMBERS


class Machine:
    """Writes down what is done to it."""

    def __init__(self, number: int, said: list[str]) -> None:
        self.number, self.said = number, said
        self.ended = True

    def __getattr__(self, name: str) -> Any:
        return lambda: self.said.append(f"{name} n{self.number}")


class Cluster:
    """Its leaders come one after the other; without one, nobody can say who leads."""

    def __init__(self, *leaders: int) -> None:
        self.said: list[str] = []
        self.leaders = list(leaders)
        self.machines = {number: Machine(number, self.said) for number in NUMBERS}

    async def leader(self, _: str) -> int:
        if not self.leaders:
            await asyncio.Event().wait()
        return self.leaders.pop(0)

    async def whole(self) -> None:
        self.said.append("whole")

    async def replace(self, number: int) -> None:
        self.said.append(f"replace n{number}")


def done(key: str, cluster: Cluster, leader: int) -> list[str]:
    """Let the fault happen, and return what was done."""

    async def operate() -> None:
        cluster.said.append("operate")

    scene = Scene(cast("Any", cluster), "videos", leader, operate, lambda _: None)

    async def act() -> None:
        await QUESTIONS[key].act(scene)

    asyncio.run(act())
    return cluster.said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "AWAY", 0)
    monkeypatch.setattr(questions, "BACK", 0.01)


def test_whoever_leads_flaps() -> None:
    steps = ["kill n1", "start n1", "kill n3", "start n3", "kill n2", "start n2"]
    assert done("flapping", Cluster(3, 2, 1), 1) == steps


def test_the_same_server_flaps_if_nobody_says_who_leads() -> None:
    assert done("flapping", Cluster(), 2) == ["kill n2", "start n2"] * 3


def test_servers_restart_one_after_the_other_and_the_leader_last() -> None:
    order = (1, 3, 2)
    steps = [step for n in order for step in (f"ask_to_end n{n}", f"start n{n}", "whole")]
    assert done("rolling-restart", Cluster(), 2) == steps


def test_a_server_that_does_not_lead_is_lost_and_replaced() -> None:
    assert done("node-replaced", Cluster(), 1) == ["lose n2", "replace n2"]
