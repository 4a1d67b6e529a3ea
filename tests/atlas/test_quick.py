"""A quick cell of each broker: what it loses or keeps is what the atlas says.

All cells are `make atlas`, which takes more than half an hour.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.atlas.run import run
from tests.brokers.cluster.needed import demand

#: A broker, its setting, a question, and whether confirmed messages are lost.
QUICK = (
    ("rabbitmq", "quorum", "leader-cut-off", False),
    ("kafka", "acks-all", "all-power", True),
    ("nats", "r3", "all-power", True),
    ("nats", "r3-always", "all-power", False),
    ("redis", "snapshots", "majority-killed", True),
    ("postgresql", "async", "leader-cut-off", True),
)


@pytest.mark.parametrize(
    ("broker", "setting", "question", "loses"),
    [
        pytest.param(*cell, marks=pytest.mark.broker(cell[0]), id="-".join(cell[:3]))
        for cell in QUICK
    ],
)
def test_confirmed_messages_are_lost_or_kept_as_recorded(
    broker: str, setting: str, question: str, *, loses: bool
) -> None:
    demand()
    seen = asyncio.run(run((broker, setting, question)))["seen"]
    assert seen["confirmed"] > 0
    assert (seen["lost"] > 0) is loses, seen
    # The harness is right about what it calls refused, and reads nothing that is not its own.
    assert seen["refused_there"] == seen["strangers"] == 0, seen
