"""The suite sees what it is there for: a changed snippet gets the bad verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import NotFoundError
from tests.survival import life
from tests.survival.faults import FAULTS
from tests.survival.lanes import Lane
from tests.survival.life import ENDS, RETURNS, SILENT, Verdict
from tests.survival.subjects import Subject, subjects

#: What is put around a worker, which by itself ends with an exception when its connection is lost.
AROUND = """
async def work(worker, handle, prefetch=1, limit=None):
    try:
        await worker_as_it_was(worker, handle, prefetch, limit)
    except ConnectionError:
        {instead}


async def main("""
#: Seconds: a silent function is watched for no longer.
SECONDS = 8

pytestmark = [pytest.mark.broker("mqtt"), pytest.mark.timeout(120)]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(life, "SECONDS", SECONDS)
    return next(one for one in subjects("mqtt") if one.name == "patterns/work_queue/on_mqtt work")


def verdict(subject: Subject, fault: str, folder: Path, instead: str) -> Verdict:
    """Return what becomes of a worker that does this instead of an exception."""

    def change(copy: Path) -> None:
        code = copy.read_text()
        assert code.count("async def work(") == code.count("async def main(") == 1
        code = code.replace("async def work(", "async def worker_as_it_was(")
        copy.write_text(code.replace("async def main(", AROUND.format(instead=instead).lstrip()))

    try:
        lane = Lane(subject.key, [subject], folder, change)
    except NotFoundError as error:
        pytest.skip(str(error))
    try:
        [found] = lane.try_all(next(one for one in FAULTS if one.name == fault)).values()
    finally:
        lane.close()
    return found


def test_a_worker_that_swallows_its_exception_and_waits_is_silent(
    worker: Subject, tmp_path: Path
) -> None:
    found = verdict(worker, "cut", tmp_path, "await asyncio.Event().wait()")
    assert found.kind == SILENT
    assert not found.good


def test_a_worker_that_ends_without_an_exception_returns_as_if_done(
    worker: Subject, tmp_path: Path
) -> None:
    found = verdict(worker, "cut", tmp_path, "return")
    assert found.kind == RETURNS
    assert not found.good


def test_a_worker_that_ends_with_an_exception_is_good(worker: Subject, tmp_path: Path) -> None:
    """The same worker with the same change around it, which lets the exception out."""
    found = verdict(worker, "cut", tmp_path, "raise")
    assert found.kind == ENDS
    assert found.good
    assert found.text.startswith("ConnectionError: ")
