"""The files of snippets/: what a page prints of them, and under which names readers get them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

FOLDER = "snippets"


class SnippetError(Exception):
    """A snippet, or a part of it, is not there. The message says what to do."""


@dataclass(frozen=True)
class Snippet:
    """One Python file below snippets/ and the output beside it. `path` is relative to snippets/."""

    folder: Path
    path: str

    @cached_property
    def code(self) -> str:
        """The text of the file."""
        return (self.folder / self.path).read_text(encoding="utf-8")

    @cached_property
    def output(self) -> str:
        """What the snippet printed when it was last run."""
        file = (self.folder / self.path).with_suffix(".out")
        if not file.is_file():
            raise SnippetError(
                f"{FOLDER}/{self.path} has no recorded output: `make record` writes "
                f"{FOLDER}/{file.relative_to(self.folder).as_posix()}"
            )
        return file.read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.path).name

    @property
    def download_name(self) -> str:
        """A name that says what the file is once it lies in a folder of downloads."""
        folder = Path(self.path).parent.name
        vague = self.name.startswith(("on_", "idea"))
        return f"{folder}_{self.name}" if vague else self.name

    @cached_property
    def companions(self) -> list[str]:
        """The modules of snippets/ that the file needs beside it: what it imports, and they."""
        found: set[str] = set()
        unread = [self.path]
        while unread:
            code = (self.folder / unread.pop()).read_text(encoding="utf-8")
            beside = {f"{name}.py" for name in imported(code)}
            new = {path for path in beside - found if (self.folder / path).is_file()}
            found |= new
            unread += new
        return sorted(found)

    @cached_property
    def whole_code(self) -> str:
        """The text of the file and of its companions: all that it does."""
        beside = (self.folder / path for path in self.companions)
        return "\n".join([self.code, *(file.read_text(encoding="utf-8") for file in beside)])

    def command(self, site_url: str) -> str:
        """Return what a reader types to run the published file."""
        base = f"{site_url.rstrip('/')}/{FOLDER}"
        if not self.companions:
            return f"uv run {base}/{self.path}"
        files = " ".join(f"-O {base}/{path}" for path in [*self.companions, self.path])
        return f"curl {files}\nuv run {self.name}"

    def lines_of(self, text: str) -> list[range]:
        """Return where `text` stands in the code, as ranges of line numbers."""
        text = text.strip("\n")
        found: list[range] = []
        start = self.code.find(text)
        while text and start >= 0:
            first = self.code.count("\n", 0, start) + 1
            found.append(range(first, first + text.count("\n") + 1))
            start = self.code.find(text, start + len(text))
        return found

    @cached_property
    def sections(self) -> dict[str, range]:
        """The functions and classes, each with its lines, decorators included."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {
            node.name: range(
                min([node.lineno, *(each.lineno for each in node.decorator_list)]),
                (node.end_lineno or node.lineno) + 1,
            )
            for node in ast.parse(self.code).body
            if isinstance(node, kinds)
        }

    def section(self, name: str) -> str:
        """Return the function or class called `name`, with its decorators."""
        if name not in self.sections:
            raise SnippetError(
                f"{FOLDER}/{self.path} has no section {name!r}; its functions and classes are: "
                + ", ".join(self.sections)
            )
        lines = self.sections[name]
        return "".join(self.code.splitlines(keepends=True)[lines[0] - 1 : lines[-1]])


@cache
def imported(code: str) -> frozenset[str]:
    """Return the modules that this code imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return frozenset(names)


def snippet(folder: Path, path: str) -> Snippet:
    """Return the snippet at `path`, which must exist."""
    if not (folder / path).is_file():
        near = (folder / path).parent
        there = sorted(file.name for file in near.glob("*.py")) if near.is_dir() else []
        hint = f"; in that folder are: {', '.join(there)}" if there else ""
        raise SnippetError(f"there is no file {FOLDER}/{path}{hint}")
    return Snippet(folder, path)


def topics(folder: Path) -> list[str]:
    """Return the folders that hold one snippet a broker."""
    return sorted({file.parent.relative_to(folder).as_posix() for file in folder.rglob("on_*.py")})
