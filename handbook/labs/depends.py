"""What the result of a lab depends on: it runs again when that has changed, and only then."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from handbook.snippet import FOLDER

if TYPE_CHECKING:
    from handbook.labs.notebook import Lab

#: What runs a lab and draws its figures.
OURS = ("engine.py", "figures.py", "palette.py")
LIBRARIES = ("ipykernel", "ipython", "jupytext", "matplotlib", "nbclient", "numpy", "simpy")


def imported(source: str) -> set[str]:
    """Return the names of the modules that some Python imports, and of what it takes from them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(root: Path, source: str) -> set[Path]:
    """Return the snippets that some Python imports, and those that they import."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        for name in imported(waiting.pop()):
            file = root.joinpath(FOLDER, *name.split(".")).with_suffix(".py")
            if file.is_file() and file not in found:
                found.add(file)
                waiting.append(file.read_text(encoding="utf-8"))
    return found


def digest(root: Path, lab: Lab) -> str:
    """Return a name for all that a lab's outputs depend on, besides its own code."""
    result = hashlib.sha256(repr([sys.version_info[:3], *map(version, LIBRARIES)]).encode())
    for file in sorted({*modules(root, lab.code), *_needs(root, lab)}):
        result.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    for name in OURS:
        result.update((Path(__file__).parent / name).read_bytes())
    return result.hexdigest()[:16]


def _needs(root: Path, lab: Lab) -> Iterator[Path]:
    """Yield the files that a lab says it needs; on the site, snippets lie beside the pages."""
    for need in lab.meta.get("needs", []):
        for file in ((lab.file.parent / need).resolve(), root / need.removeprefix("../")):
            if file.is_file() and file.is_relative_to(root):
                yield file
