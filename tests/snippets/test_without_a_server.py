"""A snippet without its server ends with one line, which says what is missing and how to start it.

A process for each broker runs all its snippets, as a program each: to start Python for each of them
would take minutes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handbook.brokers import BROKERS, Broker
from tests.snippets.running import (
    SNIPPETS,
    all_snippets,
    broker_key,
    clean_environment,
    companions,
    name,
)

WITH_SERVER = [broker for broker in BROKERS if broker.variable]
PROGRAM = """
import contextlib, io, json, runpy, sys, traceback

for path in sys.argv[1:]:
    sys.argv[1:] = []
    seen = io.StringIO()
    ended, cause = None, None
    with contextlib.redirect_stdout(seen), contextlib.redirect_stderr(seen):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            ended, cause = end.code, repr(end.__cause__)
        except Exception:
            ended = traceback.format_exc()
    print(json.dumps([path, ended, cause, seen.getvalue()]))
"""


@pytest.fixture
def nobody() -> Iterator[int]:
    """Return a port of this machine that is taken, and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def ends(snippets: list[Path], addresses: dict[str, str]) -> list[list[str]]:
    """Return how each ended: its path, the text of its SystemExit, the cause, what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *snippets],
        env=clean_environment(addresses | {"PYTHONPATH": str(SNIPPETS)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def address(broker: Broker, port: int) -> str:
    """Return the broker's usual address with another port."""
    usual = str(broker.default_address)
    before, _, after = usual.rpartition(":")
    _, slash, path = after.partition("/")
    return f"{before}:{port}{slash}{path}"


@pytest.mark.parametrize("broker", WITH_SERVER, ids=lambda broker: broker.key)
def test_a_snippet_names_the_server_that_is_missing(broker: Broker, nobody: int) -> None:
    snippets = [each for each in all_snippets() if broker_key(each) == broker.key]
    assert snippets
    addresses = {str(each.variable): address(each, nobody) for each in WITH_SERVER}
    ended_so = ends(snippets, addresses)
    assert len(ended_so) == len(snippets)
    for path, ended, cause, printed in ended_so:
        assert f"docker compose up --wait {broker.key}" in ended, f"{path}: {ended}"
        assert f"make brokers ONLY={broker.key}" in ended
        assert str(nobody) in ended
        assert "\n" not in ended
        assert printed == ""
        assert cause != "None"


def test_a_snippet_that_has_a_database_beside_its_broker_asks_for_both() -> None:
    for snippet in all_snippets():
        if broker_key(snippet) not in (None, "postgresql"):
            both = SNIPPETS / "database.py" in companions(snippet)
            asks = snippet.read_text().rstrip().endswith(".with_database(main))")
            assert asks == both, name(snippet)
