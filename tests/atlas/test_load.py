"""The producer: each outcome is told as it was, and a useless connection is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.atlas import load
from tests.atlas.history import CONFIRMED, REFUSED, UNKNOWN, Call
from tests.atlas.load import Load, Producer, RefusedError, UselessError

Publish = Callable[[int], Awaitable[None]]


class Broker:
    """Stands in for one: what its servers do with a message, and who connected to which."""

    def __init__(self, **servers: Publish) -> None:
        self.servers = {int(name.removeprefix("n")): each for name, each in servers.items()}
        self.connected: list[int] = []
        self.closed: list[int] = []

    async def connect(self, number: int) -> OneConnection:
        self.connected.append(number)
        if number not in self.servers:
            raise ConnectionRefusedError
        return OneConnection(self, number)


class OneConnection:
    def __init__(self, broker: Broker, number: int) -> None:
        self.broker, self.number = broker, number

    async def publish(self, message: int) -> None:
        await self.broker.servers[self.number](message)

    async def close(self) -> None:
        self.broker.closed.append(self.number)


async def confirms(_: int) -> None:
    pass


async def hangs(_: int) -> None:
    await asyncio.Event().wait()


def raises(error: Exception) -> Publish:
    async def publish(_: int) -> None:
        raise error

    return publish


def calls(broker: Broker, number: int, *, stays: bool = False) -> list[Call]:
    """Publish so many messages to a broker."""

    async def publish() -> list[Call]:
        producer = Producer(broker.connect, [1, 2], stays=stays)
        under = Load(producer)
        await under.run(lambda: len(under.history.calls) == number)
        await producer.close()
        return under.history.calls

    return asyncio.run(publish())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "CALL_SECONDS", 0.1)
    monkeypatch.setattr(load, "PAUSE", 0)


def test_what_the_broker_confirms_is_confirmed_on_one_connection() -> None:
    broker = Broker(n1=confirms)
    assert [call.outcome for call in calls(broker, 3)] == [CONFIRMED] * 3
    assert (broker.connected, broker.closed) == ([1], [1])


def test_what_the_broker_refuses_is_refused_and_the_connection_stays() -> None:
    broker = Broker(n1=raises(RefusedError("full")), n2=confirms)
    assert [(call.outcome, call.why) for call in calls(broker, 2)] == [(REFUSED, "full")] * 2
    assert broker.connected == [1]


def test_a_useless_connection_is_left_for_the_next_server() -> None:
    broker = Broker(n1=raises(UselessError("no leader")), n2=confirms)
    assert [call.outcome for call in calls(broker, 2)] == [REFUSED, CONFIRMED]
    assert (broker.connected, broker.closed) == ([1, 2], [1, 2])


def test_any_other_error_leaves_it_open_what_became_of_the_message() -> None:
    broker = Broker(n1=raises(ConnectionResetError("gone")), n2=confirms)
    first, second = calls(broker, 2)
    assert (first.outcome, first.why) == (UNKNOWN, "ConnectionResetError: gone")
    assert second.outcome == CONFIRMED


def test_a_call_without_an_answer_is_unknown_and_its_connection_is_left() -> None:
    broker = Broker(n1=hangs, n2=confirms)
    outcomes = [call.outcome for call in calls(broker, 40)]
    assert outcomes[0] == UNKNOWN
    assert outcomes[-1] == CONFIRMED
    assert broker.connected == [1, 2]


def test_a_client_that_finds_its_way_by_itself_keeps_its_connection() -> None:
    broker = Broker(n1=hangs, n2=confirms)
    assert {call.outcome for call in calls(broker, 3, stays=True)} == {UNKNOWN}
    assert broker.connected == [1]


def test_without_a_server_each_message_is_refused() -> None:
    broker = Broker(n3=confirms)
    assert {call.outcome for call in calls(broker, 3)} == {REFUSED}
    assert set(broker.connected) == {1, 2}
