"""Each long-lived function goes on, or ends with an exception that says why: it is never silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from handbook.brokers import BROKERS
from tests.snippets.running import all_snippets, broker_key
from tests.survival import subjects as found
from tests.survival.conftest import CHOSEN
from tests.survival.faults import FAULTS, Fault
from tests.survival.lanes import Lanes, Verdicts
from tests.survival.life import ENDS
from tests.survival.record import rounded, shortened
from tests.survival.subjects import Subject

KEYS = [broker.key for broker in BROKERS if broker.variable]
#: Each run of the tests tries these: a minute of waiting a broker. `make survival` tries them all.
QUICK = {"cut", "silence"}
TRIALS = [
    pytest.param(key, fault, marks=pytest.mark.broker(key), id=f"{key}-{fault.name}")
    for key in KEYS
    for fault in FAULTS
    if os.environ.get("SURVIVAL") == "all" or fault.name in QUICK
]


@pytest.fixture(scope="session")
def lanes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Lanes]]:
    """Return the lanes of each broker; a broker's begin when its first test asks for them."""
    wanted: dict[str, set[str]] = {key: set() for key in KEYS}
    for item in request.session.items:
        given: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if isinstance(given.get("fault"), Fault):
            wanted[given["key"]].add(given["fault"].name)
    chosen: dict[str, list[Subject]] = request.config.stash.get(CHOSEN, {})

    class Begun(dict[str, Lanes]):
        def __missing__(self, key: str) -> Lanes:
            for other in self.values():
                other.close()
            folder = tmp_path_factory.mktemp(key)
            self[key] = begun = Lanes(key, chosen.get(key, found.chosen(key)), wanted[key], folder)
            return begun

    begun = Begun()
    try:
        yield begun
    finally:
        for each in begun.values():
            each.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("key", "fault"), TRIALS)
def test_no_long_lived_function_is_silent(
    key: str, fault: Fault, lanes: dict[str, Lanes], request: pytest.FixtureRequest
) -> None:
    of_all = lanes[key]
    verdicts = of_all.verdicts[fault.name].result()
    for name, verdict in verdicts.items():
        print(f"{name:60} {verdict.kind} {verdict.text}")
    if of_all.version:
        request.node.user_properties.append(("server", of_all.version))
    request.node.user_properties.append(("survival", _said(key, fault, of_all.version, verdicts)))
    bad = {name: it for name, it in verdicts.items() if not it.good}
    assert not bad, f"{fault.says}:\n" + "\n".join(
        f"  {name:58} {it.kind}: {it.text}" for name, it in bad.items()
    )


def _said(key: str, fault: Fault, version: str, verdicts: Verdicts) -> dict[str, Any]:
    """Return what the record needs, in the types that go from process to process."""
    kinds = {one.name: one.kind for one in found.subjects(key)}
    return {
        "broker": key,
        "server": version,
        "fault": fault.name,
        "faults": {one.name: one.says for one in FAULTS},
        "concerned": [one.name for one in found.subjects(key) if fault.concerns(one)],
        "verdicts": {
            name: {
                "kind": kinds[name],
                "verdict": "ends" if it.kind == ENDS else it.kind,
                "text": shortened(it.text),
                "seconds": rounded(it.seconds),
                "good": it.good,
            }
            for name, it in verdicts.items()
        },
    }


def test_every_function_with_a_loop_is_tried() -> None:
    """What nobody knows how to try has a reason, in drives.py."""
    of_brokers = [path for path in all_snippets() if broker_key(path) not in {None, "minibroker"}]
    untried = [each for path in of_brokers for each in found.untried(path)]
    assert not untried, (
        "these have a loop or a handler, and nobody tries what they survive: add a drive, or the"
        f" reason why they end by themselves, to tests/survival/drives.py: {untried}"
    )
    for key in KEYS:
        for subject in found.subjects(key):
            found.driven(subject)


def test_an_id_stays_short_when_a_message_is_too_large() -> None:
    """Else the id is what is refused, and nobody has tried the large message."""
    subject = next(
        one
        for one in found.subjects("rabbitmq")
        if one.name == "use_cases/notifications/on_rabbitmq publish"
    )
    assert "'body': label, " in found.driven(subject) or "'body': label}" in found.driven(subject)
    assert "'notice': label[:50]" in found.driven(subject)
