"""What is asked: the faults, and how long each lasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.brokers.cluster.machines import NUMBERS, Machine, cut_off, heal

Machines = Mapping[int, Machine]


@dataclass(frozen=True)
class Question:
    """A fault that `begin`s on the machines of its `victims`, and that `end` ends.

    `asks` is the question, and `what` says what is done, both for the page; so is `group`.
    """

    key: str
    group: str
    asks: str
    what: str
    seconds: float
    victims: Callable[[int], list[int]]
    begin: Callable[[Machine], None]
    end: Callable[[Machine], None]
    #: Machines have disks of their own, which can lose power.
    disks: bool = False


def _leader(leader: int) -> list[int]:
    return [leader]


def _majority(leader: int) -> list[int]:
    return [leader, next(number for number in NUMBERS if number != leader)]


def _all(_: int) -> list[int]:
    return list(NUMBERS)


def _nothing(_: Machine) -> None:
    pass


def _heal(_: Machine) -> None:
    heal()


QUESTIONS = {
    question.key: question
    for question in (
        Question(
            "none",
            "What a confirm means",
            "Nothing happens: is all there that was confirmed?",
            "The producer publishes for some seconds, and nothing is done to the cluster.",
            5,
            _leader,
            _nothing,
            _nothing,
        ),
        Question(
            "leader-killed",
            "Fail-over",
            "The leader's server dies: what is lost, and for how long does nothing go?",
            "The server that leads is ended by kill -9, and started again on its data 20 s later.",
            20,
            _leader,
            Machine.kill,
            Machine.start,
        ),
        Question(
            "leader-frozen",
            "Fail-over",
            "The leader's server stands still, with all connections open",
            "The server that leads is stopped by SIGSTOP, and goes on 20 s later.",
            20,
            _leader,
            Machine.freeze,
            Machine.thaw,
        ),
        Question(
            "leader-cut-off",
            "Fail-over",
            "The network between the leader and the other two is cut",
            "No packet passes between the leader and the other two for 20 s. Clients reach all.",
            20,
            _leader,
            lambda machine: cut_off(machine.number),
            _heal,
        ),
        Question(
            "leader-unheard",
            "Fail-over",
            "The network is cut one way: the leader hears the other two, and they don't hear it",
            "Nothing that the leader sends to the other two arrives for 20 s. Clients reach all.",
            20,
            _leader,
            lambda machine: cut_off(machine.number, hears=True),
            _heal,
        ),
        Question(
            "majority-killed",
            "Fail-over",
            "Two of three servers die, the leader among them",
            "Two servers are ended by kill -9, and started again on their data 10 s later.",
            10,
            _majority,
            Machine.kill,
            Machine.start,
        ),
        Question(
            "leader-power",
            "What a confirm means",
            "The leader's machine loses power",
            "What the leader's machine has not synced is gone. Its power is back 10 s later.",
            10,
            _leader,
            Machine.power_off,
            Machine.power_on,
            disks=True,
        ),
        Question(
            "all-power",
            "What a confirm means",
            "All three machines lose power at the same moment",
            "What the machines have not synced is gone. Their power is back 3 s later.",
            3,
            _all,
            Machine.power_off,
            Machine.power_on,
            disks=True,
        ),
    )
}
