"""The benchmarks lose nothing that was confirmed, and the record on the disk is theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.benchmarks import BENCHMARKS, window
from tests.benchmarks.__main__ import RECORD, compact, machine
from tests.benchmarks.measure import (
    BODY,
    NO_CONFIRM,
    ONE_BY_ONE,
    ROUNDS,
    SEED,
    WAYS,
    WINDOW,
    Round,
    described,
    run,
)
from tests.benchmarks.pages import table
from tests.brokers import NotFoundError, NotOursError, Server
from tests.conftest import REQUIRED
from tests.records import ROOT, clients

#: Not a multiple of the window, so that the last batch is a short one.
FEW = WINDOW + 10

every_broker = pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.broker(key)) for key in BENCHMARKS]
)


@pytest.fixture
def running(key: str, request: pytest.FixtureRequest) -> Iterator[dict[str, Server]]:
    try:
        with BENCHMARKS[key].started() as servers:
            usual = servers["usual"]
            name = f"{usual.version()} ({usual.source.name})"
            request.node.user_properties.append(("server", name))
            yield servers
    except (NotFoundError, NotOursError) as error:
        if REQUIRED:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@every_broker
def test_what_a_setting_confirmed_is_in_the_broker(key: str, running: dict[str, Server]) -> None:
    for setting in BENCHMARKS[key].settings:
        count = min(FEW, setting.count)
        one = asyncio.run(run(setting, running[setting.server], count))
        assert one.sent == count + count // 10
        if setting.certain:
            assert one.stored == one.sent, setting
        assert len(one.milliseconds) == (0 if setting.way == NO_CONFIRM else count)
        assert one.rate > 0
        entry, *_ = described(BENCHMARKS[key], {each: [one] for each in BENCHMARKS[key].settings})
        assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize("key", BENCHMARKS)  # without the broker's mark, as none is asked
def test_the_record_has_these_settings_and_these_versions(key: str) -> None:
    recorded = json.loads(RECORD.read_text())["brokers"][key]
    settings = BENCHMARKS[key].settings
    assert [(one["kept"], one["way"], one["count"]) for one in recorded["settings"]] == [
        (setting.kept, setting.way, setting.count) for setting in settings
    ]
    assert recorded["client"] == clients()[key], "measure again: `make benchmark`"
    for setting, one in zip(settings, recorded["settings"], strict=True):
        for name in ("rate", "p50_ms", "p99_ms"):
            assert len(one[name]) == ROUNDS
            silent = setting.way == NO_CONFIRM and name != "rate"
            assert all(value is None if silent else value > 0 for value in one[name])


def test_the_record_says_what_it_hangs_on() -> None:
    text = RECORD.read_text()
    recorded = json.loads(text)
    assert recorded["machine"].keys() == machine().keys()
    assert (recorded["message_bytes"], recorded["window"]) == (len(BODY), WINDOW)
    assert (recorded["rounds"], recorded["seed"]) == (ROUNDS, SEED)
    assert list(recorded["brokers"]) == list(BENCHMARKS)
    assert compact(recorded) == text


def test_the_measure_of_a_broker_is_one_by_one_and_certain() -> None:
    for benchmark in BENCHMARKS.values():
        first = benchmark.settings[0]
        assert first.way == ONE_BY_ONE
        assert first.certain
        names = [(setting.kept, setting.way) for setting in benchmark.settings]
        assert len(set(names)) == len(names)
        assert {setting.way for setting in benchmark.settings} <= set(WAYS)
        assert {setting.server for setting in benchmark.settings} <= set(benchmark.servers)


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    one = Round(100, 100, 1.0, tuple(float(number) for number in range(100, 0, -1)))
    assert (one.percentile(50), one.percentile(99)) == (50, 99)
    assert Round(1, 1, 1.0, ()).percentile(50) is None


def test_the_page_prints_the_ratios_that_were_recorded() -> None:
    assert table() in (ROOT / "docs" / "best-practices" / "service.md").read_text()
    recorded = json.loads(window.RECORD.read_text())
    assert list(recorded["brokers"]) == list(BENCHMARKS)
    for key, found in recorded["brokers"].items():
        assert found["client"] == clients()[key], "measure again: `make benchmark`"
        assert all(len(found[way]) == window.ROUNDS for way in window.WAYS)
    assert compact(recorded) == window.RECORD.read_text()
