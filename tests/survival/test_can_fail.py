"""The suite sees what it is there for: a changed snippet gets the bad verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import NotFoundError
from tests.survival import life
from tests.survival.faults import FAULTS
from tests.survival.lanes import Lane
from tests.survival.life import ENDS, GOES_ON, MISSED, RETURNS, SILENT, Verdict
from tests.survival.subjects import Subject, subjects

#: What is put around a worker, which by itself ends with an exception when its connection is lost.
AROUND = """
async def work(worker, handle, prefetch=1, limit=None):
    try:
        await worker_as_it_was(worker, {handle}, prefetch, limit)
    except ConnectionError:
        {instead}


async def main("""
WAIT = "await asyncio.Event().wait()"
#: It begins again once, and waits then.
ONCE_MORE = f"""
        try:
            await worker_as_it_was(worker, handle, prefetch, limit)
        except ConnectionError:
            {WAIT}"""
#: It is never told what its handler has to do.
DEAF = "lambda task, *more: handle(task.replace('must', 'may'), *more)"
#: Seconds: a silent function is watched for no longer.
SECONDS = 15

pytestmark = [pytest.mark.broker("mqtt"), pytest.mark.timeout(120)]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(life, "SECONDS", SECONDS)
    return next(one for one in subjects("mqtt") if one.name == "patterns/work_queue/on_mqtt work")


def verdicts(
    subject: Subject, fault: str, folder: Path, instead: str, times: int, handle: str = "handle"
) -> list[Verdict]:
    """Return what becomes of a worker that does this instead of an exception, fault after fault."""

    def change(copy: Path) -> None:
        code = copy.read_text()
        assert code.count("async def work(") == code.count("async def main(") == 1
        code = code.replace("async def work(", "async def worker_as_it_was(")
        around = AROUND.format(instead=instead, handle=handle).lstrip()
        copy.write_text(code.replace("async def main(", around))

    try:
        lane = Lane(subject.key, [subject], folder, change)
    except NotFoundError as error:
        pytest.skip(str(error))
    try:
        its = next(one for one in FAULTS if one.name == fault)
        return [found for _ in range(times) for found in lane.try_all(its).values()]
    finally:
        lane.close()


def test_a_worker_that_swallows_its_exception_and_waits_is_silent(
    worker: Subject, tmp_path: Path
) -> None:
    [found] = verdicts(worker, "cut", tmp_path, WAIT, 1)
    assert found.kind == SILENT
    assert not found.good


def test_a_worker_that_ends_without_an_exception_returns_as_if_done(
    worker: Subject, tmp_path: Path
) -> None:
    [found] = verdicts(worker, "cut", tmp_path, "return", 1)
    assert found.kind == RETURNS
    assert not found.good


def test_a_worker_that_ends_with_an_exception_is_good(worker: Subject, tmp_path: Path) -> None:
    """The same worker with the same change around it, which lets the exception out."""
    [found] = verdicts(worker, "cut", tmp_path, "raise", 1)
    assert found.kind == ENDS
    assert found.good
    assert found.text.startswith("ConnectionError: ")


def test_who_is_not_reached_by_a_fault_is_not_praised(worker: Subject, tmp_path: Path) -> None:
    """It handles each message, before and after: but none of them told its handler to fail."""
    [found] = verdicts(worker, "raises_once", tmp_path, "raise", 1, DEAF)
    assert found.kind == MISSED
    assert not found.good
    assert "no handler was called with must-fail-once" in found.text


def test_what_went_on_in_one_fault_is_asked_again_in_the_next(
    worker: Subject, tmp_path: Path
) -> None:
    """One life goes through several faults: what it handled after the first one is no answer."""
    found = verdicts(worker, "cut", tmp_path, ONCE_MORE.strip(), 2)
    assert [each.kind for each in found] == [GOES_ON, SILENT]
