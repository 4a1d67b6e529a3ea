"""What the atlas's pages say in their own words is what is recorded."""

from __future__ import annotations

import pytest

from handbook.answers import answers, called
from tests.records import ROOT

#: By page: the answers that it says kept all, and those that it says lost some.
SAID = {
    "a-node-dies": ("leader-killed-rabbitmq-classic leader-killed-nats-r1", ""),
    "the-power-fails": (
        "all-power-rabbitmq-quorum all-power-kafka-flush all-power-nats-r3-always"
        " all-power-redis-always all-power-redis-waitaof all-power-postgresql-async"
        " leader-power-kafka-acks-all leader-power-nats-r3",
        "all-power-kafka-acks-all all-power-nats-r3 leader-power-rabbitmq-classic"
        " leader-power-nats-r1",
    ),
    "the-network-splits": (
        "leader-cut-off-rabbitmq-quorum leader-cut-off-kafka-acks-all leader-cut-off-nats-r3"
        " leader-cut-off-redis-wait leader-cut-off-postgresql-sync"
        " leader-cut-off-rabbitmq-classic leader-cut-off-nats-r1",
        "leader-cut-off-kafka-acks-1 leader-cut-off-redis-snapshots leader-cut-off-redis-plain"
        " leader-cut-off-postgresql-async",
    ),
    "patch-and-upgrade": (
        "rolling-restart-rabbitmq-quorum rolling-restart-nats-r3 rolling-restart-postgresql-sync",
        "polite-restart-rabbitmq-transient polite-restart-nats-memory polite-restart-mqtt-default",
    ),
    "index": (
        "",
        "nobody-listens-kafka-auto-create nobody-listens-redis-xadd nobody-listens-mqtt-qos-1"
        " nobody-listens-rabbitmq-mandatory worker-killed-kafka-auto-commit"
        " disk-full-redis-snapshots disk-full-mqtt-persistence",
    ),
}


@pytest.mark.parametrize("page", SAID)
def test_what_a_page_says_was_kept_or_lost_is_recorded(page: str) -> None:
    assert (ROOT / "docs" / "atlas" / f"{page}.md").is_file()
    for anchors, holds in zip(SAID[page], (True, False), strict=True):
        for _, answer in answers(ROOT, anchors.split()):
            assert answer.holds == holds, f"{answer.anchor}: change docs/atlas/{page}.md"


def test_by_default_a_message_that_always_fails_comes_again_for_ever_but_on_kafka() -> None:
    [asked] = called(ROOT, ["always-fails"])
    default = [answer for its in asked.answers.values() for answer in its if answer.default]
    assert {answer.broker.key for answer in default} == set(asked.answers) - {"kafka"}
    assert {answer.short for answer in default} == {"no end"}
    # A worker that goes on has passed over it, and one that goes back gets it each time.
    on_kafka = answers(ROOT, ["came-again-kafka-goes-on", "always-fails-kafka-seek"])
    assert [answer.short for _, answer in on_kafka] == ["never", "no end"]
