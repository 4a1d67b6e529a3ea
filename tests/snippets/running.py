"""A snippet, run as its reader would run it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from handbook.brokers import BROKERS
from handbook.snippet import Snippet

ROOT = Path(__file__).parents[2]
SNIPPETS = ROOT / "snippets"
MINIBROKER = SNIPPETS / "minibroker.py"
#: In the environment while `make mutants` runs a test on snippets that lack something.
MUTANT = "HANDBOOK_MUTANT"
VARIABLES = {broker.variable for broker in BROKERS if broker.variable}


def all_snippets() -> list[Path]:
    """Return every snippet that runs by itself: all but the modules that several of them share."""
    return sorted(path for path in SNIPPETS.rglob("*.py") if path.parent != SNIPPETS)


def companions(snippet: Path) -> list[Path]:
    """Return the shared modules that a reader must have beside the snippet."""
    shown = Snippet(SNIPPETS, os.path.relpath(snippet, SNIPPETS))
    return [SNIPPETS / companion for companion in shown.companions]


def whole_code(snippet: Path) -> str:
    """Return the snippet's text and that of the modules beside it: all that it does."""
    return Snippet(SNIPPETS, os.path.relpath(snippet, SNIPPETS)).whole_code


def name(snippet: Path) -> str:
    """Return the snippet's path as people write it."""
    return snippet.relative_to(SNIPPETS).as_posix()


def keep(file: Path, text: str) -> None:
    """Write a record at one stroke: a test in another process reads the old one or the new."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def broker_key(snippet: Path) -> str | None:
    """Return the broker that the snippet needs, from its name; None where it needs none."""
    key = snippet.stem.removeprefix("on_")
    return key if key != snippet.stem else None


def download(snippet: Path, folder: Path) -> Path:
    """Put the snippet into a reader's folder, with the shared modules that it imports."""
    for path in (snippet, *companions(snippet)):
        shutil.copy(path, folder)
    return folder / snippet.name


def beginning_with(statements: str, code: str) -> str:
    """Return a snippet's code with these statements before its first, which is an import."""
    first = next(
        node
        for node in ast.parse(code).body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    )
    lines = code.splitlines(keepends=True)
    return "".join([*lines[: first.lineno - 1], statements, *lines[first.lineno - 1 :]])


def mutated() -> bool:
    """Tell whether `make mutants` runs this test: then a text may be gone from the snippets."""
    return bool(os.environ.get(MUTANT))


def holder(copy: Path, text: str) -> tuple[Path, int]:
    """Return the file that has the text, and how often: a downloaded snippet or what is beside."""
    beside = sorted(set(copy.parent.glob("*.py")) - {copy})
    counts = {file: file.read_text().count(text) for file in (copy, *beside)}
    return next(((file, count) for file, count in counts.items() if count), (copy, 0))


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
        timeout=300,  # so long, a busy machine needs for what takes seconds
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
    changed = folder / "changed"
    changed.mkdir()
    copy = download(snippet, changed)
    for line, instead in changes.items():
        file, count = holder(copy, line)
        assert count == 1, f"{file.name} has {line!r} {count} times"
        file.write_text(file.read_text().replace(line, instead))
    return run([sys.executable, copy.name], changed, extra)
