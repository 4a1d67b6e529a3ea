"""A snippet, run as its reader would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from handbook.brokers import BROKERS

ROOT = Path(__file__).parents[2]
SNIPPETS = ROOT / "snippets"
MINIBROKER = SNIPPETS / "minibroker.py"
VARIABLES = {broker.variable for broker in BROKERS if broker.variable}


def all_snippets() -> list[Path]:
    """Return every snippet that has something to show: all but the minibroker itself."""
    return sorted(path for path in SNIPPETS.rglob("*.py") if path != MINIBROKER)


def name(snippet: Path) -> str:
    """Return the snippet's path as people write it."""
    return snippet.relative_to(SNIPPETS).as_posix()


def broker_key(snippet: Path) -> str | None:
    """Return the broker that the snippet needs, from its name; None where it needs none."""
    key = snippet.stem.removeprefix("on_")
    return key if key != snippet.stem else None


def download(snippet: Path, folder: Path) -> Path:
    """Put the snippet into a reader's folder, with the minibroker if it imports that."""
    copy = folder / snippet.name
    shutil.copy(snippet, copy)
    if "from minibroker import" in snippet.read_text():
        shutil.copy(MINIBROKER, folder)
    return copy


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without the brokers' addresses, and `extra`."""
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return {**kept, **extra}


def run(command: list[str], folder: Path, extra: Mapping[str, str]) -> str:
    """Run a command in the folder; return its standard output, or raise with all it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed\n{done.stdout}\n{done.stderr}")
    return done.stdout


def run_with_python(snippet: Path, folder: Path, extra: Mapping[str, str]) -> str:
    """Run the snippet in a fresh process of this Python; return what it printed."""
    return run([sys.executable, download(snippet, folder).name], folder, extra)


def run_changed(
    snippet: Path, changes: Mapping[str, str], folder: Path, extra: Mapping[str, str]
) -> str:
    """Run a copy with each text, which the snippet has once, changed; return what it printed."""
    text = snippet.read_text()
    for line, instead in changes.items():
        assert text.count(line) == 1, f"{snippet} has {line!r} {text.count(line)} times"
        text = text.replace(line, instead)
    copy = folder / "changed" / snippet.name
    copy.parent.mkdir()
    copy.write_text(text)
    return run_with_python(copy, folder, extra)
