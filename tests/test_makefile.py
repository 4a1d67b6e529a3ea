"""The commands that people give: what they run, and what they say when they can't."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.snippets.running import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with this Python, and set nothing up."""
    ready = ["-o", ".venv/ready", "-o", "node_modules/ready"]
    command = ["make", *ready, f"BIN={Path(sys.executable).parent}", *arguments]
    # What a make that runs these tests was told is not for this one.
    its = {key: value for key, value in os.environ.items() if key not in ("ARGS", "MAKEFLAGS")}
    return subprocess.run(command, cwd=ROOT, env=its, capture_output=True, text=True, check=False)


def test_a_port_that_is_taken_is_named_before_the_build() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = make("serve", f"PORT={port}")
    assert done.returncode
    assert f"Port {port} is taken." in done.stdout
    assert "mkdocs" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "checks"), [([], True), (["ARGS=tests/patterns -k redis"], False)]
)
def test_one_part_is_tested_without_the_checks(arguments: list[str], checks: bool) -> None:
    said = make("--dry-run", "test", *arguments).stdout
    assert "/pytest" in said
    assert ("ruff check" in said) is checks


@pytest.mark.parametrize(
    ("generation", "run"), [("", "newest stable"), ("both", "newest stable"), ("stable", "stable")]
)
def test_both_generations_are_tested_unless_one_is_named(generation: str, run: str) -> None:
    said = make("--dry-run", "test", "ARGS=tests/patterns", f"GENERATION={generation}").stdout
    assert f"for generation in {run};" in said
