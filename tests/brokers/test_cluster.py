"""Clusters of three: their machines lose what they should, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.brokers.cluster import inside
from tests.brokers.cluster.needed import demand
from tests.brokers.server import wait_until

MARK = "HANDBOOK_TEST_OF_CLUSTERS"
#: How many programs are ended, each at a random moment of its first seconds.
PROGRAMS, SECONDS = 4, 6.0
PROGRAM = """
import asyncio
from tests.brokers.cluster import inside
asyncio.run(inside.run("tests.brokers.cluster.trial", "rest", seconds=3600))
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    demand()


def shown(trial: str) -> object:
    return json.loads(asyncio.run(inside.run("tests.brokers.cluster.trial", trial, seconds=120)))


def test_a_machine_that_loses_power_keeps_what_was_synced_and_nothing_else() -> None:
    assert shown("disk") == {"synced": 4096, "not synced": False, "write after the cut": "EIO"}


def test_a_machine_can_be_cut_off_both_ways_or_one_way_and_be_healed() -> None:
    whole = {"1 to 2": True, "2 to 1": True, "2 to 3": True}
    assert shown("links") == {
        "whole": whole,
        "cut off": {"1 to 2": False, "2 to 1": False, "2 to 3": True},
        "unheard": {"1 to 2": False, "2 to 1": True, "2 to 3": True},
        "healed": whole,
    }


def test_nothing_is_left_behind_however_and_whenever_a_program_is_ended() -> None:
    mark, seed, before = uuid.uuid4().hex, random.randrange(1000), mounts()
    print("seed", seed)
    chance = random.Random(seed)
    moments = sorted(chance.uniform(0, SECONDS) for _ in range(PROGRAMS))
    began, disks, networks = time.monotonic(), set[tuple[str, str]](), set[str]()
    programs = [start(mark) for _ in moments]
    ways = itertools.cycle((signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
    for program, moment, way in zip(programs, moments, ways, strict=False):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        within = psutil.Process(program.pid).children(recursive=True)
        disks |= disks_of(within)
        networks |= networks_of(within) - networks_of([psutil.Process()])
        program.send_signal(way)
        program.wait(timeout=60)
    wait_until(lambda: not marked(mark), "every process to end")
    wait_until(lambda: all(sequence(disk) != at for disk, at in disks), "every disk to go")
    # What holds a network is a process in it, or a mount.
    wait_until(lambda: not networks & networks_of(psutil.process_iter()), "every network to go")
    assert mounts() == before


def start(mark: str) -> subprocess.Popen[bytes]:
    """Start a program with a cluster inside that does nothing; all its processes have the mark."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that have the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def networks_of(processes: Iterable[psutil.Process]) -> set[str]:
    """Return the network namespaces in which processes are."""
    found = set()
    for process in processes:
        with suppress(OSError):
            found.add(str(Path(f"/proc/{process.pid}/ns/net").readlink()))
    return found


def disks_of(processes: Iterable[psutil.Process]) -> set[tuple[str, str]]:
    """Return the loop devices that processes have mounted, each with the number of its use."""
    found = set()
    for process in processes:
        with suppress(OSError):
            mounted = Path(f"/proc/{process.pid}/mounts").read_text()
            names = {line.split()[0] for line in mounted.splitlines()}
            disks = {Path(name).name for name in names if name.startswith("/dev/loop")}
            found |= {(disk, sequence(disk)) for disk in disks}
    return found


def sequence(disk: str) -> str:
    """Return a number that each use of a loop device has anew; nothing if it is not in use."""
    block = Path("/sys/block", disk)
    if not (block / "loop" / "backing_file").exists():
        return ""
    return (block / "diskseq").read_text().strip()


def mounts() -> list[str]:
    """Return all that is mounted, as everybody else sees it."""
    return Path("/proc/self/mounts").read_text().splitlines()
