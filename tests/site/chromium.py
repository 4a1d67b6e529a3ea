"""Find a Chromium: named in the environment, on this machine, or in the project's folder."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from tests.brokers import debian

#: No sandbox, because the suite may run as root; nothing that would call home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable(folder: Path) -> str:
    """Return the path of a Chromium, or of a script in `folder` that starts one."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found:
        return found
    if debian.has("chromium"):
        script = folder / "chromium"
        command = shlex.join(debian.command("chromium"))
        script.write_text(
            f'#!/bin/sh\nexport HOME={shlex.quote(str(folder))}\nexec {command} "$@"\n'
        )
        script.chmod(0o755)
        return str(script)
    raise FileNotFoundError(
        "no Chromium: run `make servers`, or name one in the environment variable CHROMIUM"
    )
