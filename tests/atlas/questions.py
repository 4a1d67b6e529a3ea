"""What is asked: what is done to a cluster while a producer publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.brokers.cluster.cluster import Cluster, until
from tests.brokers.cluster.machines import NUMBERS, Machine, cut_off, heal

#: In seconds: how long a server is away that flaps, and how long it is back before the next time.
AWAY, BACK = 5, 10


@dataclass(frozen=True)
class Scene:
    """Where a fault takes place. `leader` is the machine that led the queue before it."""

    cluster: Cluster
    queue: str
    leader: int
    #: What an operator does by hand during this fault.
    operate: Callable[[], Awaitable[None]]
    #: Writes into the history what is done now.
    note: Callable[[str], None]

    @property
    def follower(self) -> int:
        """Return one that does not lead."""
        return next(number for number in NUMBERS if number != self.leader)


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Question:
    """`act` is the fault from its beginning to its end, which it notes.

    `asks` is the question, and `what` says what is done, both for the page; so is `group`.
    """

    key: str
    group: str
    asks: str
    what: str
    act: Act
    #: Machines have disks of their own, which can lose power.
    disks: bool = False


def _lasting(
    seconds: float,
    victims: Callable[[Scene], list[int]],
    begin: Callable[[Machine], None],
    end: Callable[[Machine], None],
) -> Act:
    """Return a fault that begins on the machines of its victims, and ends some seconds later."""

    async def act(scene: Scene) -> None:
        machines = [scene.cluster.machines[number] for number in victims(scene)]
        for machine in machines:
            begin(machine)
        operator = asyncio.ensure_future(scene.operate())
        await asyncio.sleep(seconds)
        await operator
        scene.note("the fault ends")
        for machine in machines:
            end(machine)

    return act


def _leader(scene: Scene) -> list[int]:
    return [scene.leader]


def _follower(scene: Scene) -> list[int]:
    return [scene.follower]


def _majority(scene: Scene) -> list[int]:
    return [scene.leader, scene.follower]


def _all(_: Scene) -> list[int]:
    return list(NUMBERS)


def _nothing(_: Machine) -> None:
    pass


def _heal(_: Machine) -> None:
    heal()


async def _flap(scene: Scene) -> None:
    """Kill the leader three times; the same server again if nobody says who leads now."""
    leader = scene.leader
    for _ in range(3):
        machine = scene.cluster.machines[leader]
        scene.note(f"n{leader} is killed")
        machine.kill()
        await asyncio.sleep(AWAY)
        scene.note(f"n{leader} starts")
        machine.start()
        try:
            leader, _ = await asyncio.gather(
                asyncio.wait_for(scene.cluster.leader(scene.queue), BACK), asyncio.sleep(BACK)
            )
        except TimeoutError:
            continue
    scene.note("the fault ends")


async def _restart_each(scene: Scene) -> None:
    """Restart one server after the other, the leader last, and wait each time for all three."""
    followers = [number for number in NUMBERS if number != scene.leader]
    for number in (*followers, scene.leader):
        machine = scene.cluster.machines[number]
        scene.note(f"n{number} is asked to end")
        machine.ask_to_end()

        async def ended(machine: Machine = machine) -> bool:
            return machine.ended

        await until(ended, f"n{number} to end")
        scene.note(f"n{number} starts")
        machine.start()
        await scene.cluster.whole()
        scene.note(f"n{number} is back")
    scene.note("the fault ends")


async def _replace(scene: Scene) -> None:
    """Lose a server that does not lead, with all that it has, and put an empty one there."""
    scene.cluster.machines[scene.follower].lose()
    await asyncio.sleep(AWAY)
    scene.note(f"n{scene.follower} is replaced")
    await scene.cluster.replace(scene.follower)
    scene.note("the fault ends")


QUESTIONS = {
    question.key: question
    for question in (
        Question(
            "none",
            "What a confirm means",
            "Nothing happens: is all there that was confirmed?",
            "The producer publishes for some seconds, and nothing is done to the cluster.",
            _lasting(5, _leader, _nothing, _nothing),
        ),
        Question(
            "leader-killed",
            "Fail-over",
            "The leader's server dies: what is lost, and for how long does nothing go?",
            "The server that leads is ended by kill -9, and started again on its data 20 s later.",
            _lasting(20, _leader, Machine.kill, Machine.start),
        ),
        Question(
            "leader-frozen",
            "Fail-over",
            "The leader's server stands still, with all connections open",
            "The server that leads is stopped by SIGSTOP, and goes on 20 s later.",
            _lasting(20, _leader, Machine.freeze, Machine.thaw),
        ),
        Question(
            "leader-cut-off",
            "Fail-over",
            "The network between the leader and the other two is cut",
            "No packet passes between the leader and the other two for 20 s. Clients reach all.",
            _lasting(20, _leader, lambda machine: cut_off(machine.number), _heal),
        ),
        Question(
            "leader-unheard",
            "Fail-over",
            "The network is cut one way: the leader hears the other two, and they don't hear it",
            "Nothing that the leader sends to the other two arrives for 20 s. Clients reach all.",
            _lasting(20, _leader, lambda machine: cut_off(machine.number, hears=True), _heal),
        ),
        Question(
            "majority-killed",
            "Fail-over",
            "Two of three servers die, the leader among them",
            "Two servers are ended by kill -9, and started again on their data 10 s later.",
            _lasting(10, _majority, Machine.kill, Machine.start),
        ),
        Question(
            "follower-killed",
            "Fail-over",
            "A server that does not lead dies",
            "A server that does not lead is ended by kill -9, and started again 15 s later.",
            _lasting(15, _follower, Machine.kill, Machine.start),
        ),
        Question(
            "flapping",
            "Fail-over",
            "The leader dies again and again",
            "Three times, the server that leads is ended by kill -9 and started again 5 s later,"
            " 10 s apart. If no leader can be found by then, the same server dies again.",
            _flap,
        ),
        Question(
            "leader-power",
            "What a confirm means",
            "The leader's machine loses power",
            "What the leader's machine has not synced is gone. Its power is back 10 s later.",
            _lasting(10, _leader, Machine.power_off, Machine.power_on),
            disks=True,
        ),
        Question(
            "all-power",
            "What a confirm means",
            "All three machines lose power at the same moment",
            "What the machines have not synced is gone. Their power is back 3 s later.",
            _lasting(3, _all, Machine.power_off, Machine.power_on),
            disks=True,
        ),
        Question(
            "rolling-restart",
            "Operations",
            "Each server is restarted gracefully, one after the other",
            "Each server is asked to end, as for an update, and started again, the one that leads"
            " last. The next one has its turn when all three are in step.",
            _restart_each,
        ),
        Question(
            "node-replaced",
            "Operations",
            "A server that does not lead is lost with its disk, and an empty one takes its place",
            "A server that does not lead is ended by kill -9, and all of its files are deleted."
            " 5 s later an operator puts an empty server of the same name there. A queue with one"
            " copy has nothing on that server, so this does not say what the loss of its own disk"
            " does to it.",
            _replace,
        ),
    )
}
