"""What a broker has to bring to be asked: its cluster, its settings, a producer, a reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tests.atlas.load import Connection
from tests.atlas.questions import Question
from tests.brokers.cluster.cluster import Cluster
from tests.brokers.cluster.machines import Machine

QUEUE = "videos"


@dataclass(frozen=True)
class Setting:
    """One way to run a broker: `label` names it on the page, by the options' own names.

    `default` is what one gets without choosing; `safe` is the one that keeps most.
    """

    key: str
    label: str
    default: bool = False
    safe: bool = False


class Asked(ABC):
    """One broker in one of its settings, on three machines."""

    key: ClassVar[str]
    #: The Python client's distribution.
    client: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]]
    #: The client finds its way by itself: a call without an answer is no reason to leave it.
    stays: ClassVar[bool] = False
    #: By a question's key: why it can't be asked here, in one sentence for the page.
    cannot: ClassVar[Mapping[str, str]] = {}
    #: By a question's key: what an operator does by hand, in one sentence for the page.
    by_hand: ClassVar[Mapping[str, str]] = {}

    def __init__(self, setting: str, machines: Mapping[int, Machine]) -> None:
        self.setting = setting
        self.cluster = self.make(machines)

    @abstractmethod
    def make(self, machines: Mapping[int, Machine]) -> Cluster:
        """Return the cluster, not started yet."""

    @abstractmethod
    async def declare(self) -> None:
        """Make the queue, and return when all its replicas are there."""

    @abstractmethod
    async def connect(self, number: int) -> Connection:
        """Open a producer's connection to the server on a machine."""

    @abstractmethod
    async def read(self) -> list[int]:
        """Return all messages that are there, in the order in which a consumer gets them."""

    async def operate(self, question: Question, leader: int) -> None:  # noqa: ARG002
        """Do what an operator does by hand, where a broker does not fail over by itself."""
        return
