"""What a program of this machine says of its version."""

from __future__ import annotations

import subprocess

from tests.brokers.debian import on_machine


def printed_by(program: str, *arguments: str) -> str:
    """Return what the program prints, or nothing where this machine does not have it."""
    path = on_machine(program)
    if path is None:
        return ""
    done = subprocess.run(
        [path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout
