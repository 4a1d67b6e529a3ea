"""From a notebook that has run to a page in Markdown, and to the file that a reader downloads."""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from handbook.directives.code import fence
from handbook.labs.depends import imported
from handbook.labs.plot import PlotError, inline
from handbook.snippet import FOLDER

_FRONT_MATTER = re.compile(r"\A---\n(?P<yaml>.*?)\n---\s*\Z", re.S)
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)(?P<link>[^)\s]+)(?=\))")


class LabError(Exception):
    """A lab is not as a lab has to be. `line` is a line of its file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Markdown:
    """Text for a page, each line with the line of the lab's file that it comes from.

    `made` is the HTML in it that no author wrote.
    """

    lines: list[str] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    made: set[str] = field(default_factory=set)

    def add(self, text: list[str], line: int, *, step: int = 0) -> None:
        """Add a paragraph; each of its lines comes from `step` lines further on."""
        for index, each in enumerate([*text, ""]):
            self.lines.append(each)
            self.origins.append(line + index * step)


@dataclass(frozen=True)
class Lab:
    """A notebook and its file, `docs/labs/<name>.py`."""

    file: Path
    notebook: NotebookNode

    @property
    def meta(self) -> dict[str, Any]:
        """What stands between the `# ---` lines at the top: the page's description."""
        first = self.notebook.cells[0] if self.notebook.cells else None
        found = _FRONT_MATTER.match(first.source) if first and first.cell_type == "raw" else None
        if not found:
            raise LabError(1, "a lab begins with `# ---`, `# description: …` and `# ---`")
        return dict(yaml.safe_load(found["yaml"]))

    @property
    def cells(self) -> Iterator[tuple[int, NotebookNode]]:
        """Yield the cells, without front matter, each with the line on which it begins."""
        text = self.file.read_text(encoding="utf-8").splitlines()
        starts = [number for number, line in enumerate(text, start=2) if line.startswith("# %%")]
        cells = [cell for cell in self.notebook.cells if cell.cell_type != "raw"]
        yield from zip(starts, cells, strict=True)

    @property
    def code(self) -> str:
        """What runs, without the prose."""
        return "\n\n".join(cell.source for _, cell in self.cells if cell.cell_type == "code")

    def check_form(self) -> None:
        """Refuse a lab without a head, or with code that is no Python."""
        _ = self.meta
        for line, cell in self.cells:
            if cell.cell_type == "code":
                try:
                    ast.parse(cell.source)
                except SyntaxError as error:
                    raise LabError(
                        line + (error.lineno or 1) - 1, f"SyntaxError: {error.msg}"
                    ) from None

    def check(self) -> None:
        """Refuse what a page can't show, and what a reader should not see: errors and warnings."""
        for line, cell in self.cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    raise LabError(line, f"{output.ename}: {output.evalue}")
                if output.get("name") == "stderr":
                    raise LabError(line, f"the cell wrote to standard error: {output.text}")
                if svg := output.get("data", {}).get("image/svg+xml"):
                    _figure(line, svg, 1)

    def markdown(self, root: Path) -> Markdown:
        """Return the page's text: prose, code, what it printed and what it drew."""
        page = Markdown()
        figures = 0
        for line, cell in self.cells:
            if cell.cell_type == "markdown":
                page.add(cell.source.split("\n"), line, step=1)
                continue
            page.add(fence(cell.source, ".python .lab"), line)
            for output in cell.outputs:
                if svg := output.get("data", {}).get("image/svg+xml"):
                    figures += 1
                    figure = _figure(line, svg, figures)
                    page.add([figure], line)
                    page.made.add(figure)
                elif printed := _printed(output):
                    page.add(fence(printed, '.text .output .no-copy title="Output"'), line)
        if not page.lines or not page.lines[0].startswith("# "):
            raise LabError(1, "the first cell of a lab is Markdown and begins with `# Title`")
        facts = ["", *self._facts(root)]
        page.lines[1:1] = facts
        page.origins[1:1] = [page.origins[0]] * len(facts)
        return page

    def _facts(self, root: Path) -> list[str]:
        """Return the line below the title: the notebook to download, and what it needs."""
        name = self.file.with_suffix(".ipynb").name
        facts = [f'[Download {name}]({name}){{ download="{name}" }}']
        own, installed = self._imports(root)
        needs = [f"../{FOLDER}/{module}.py" for module in own] + self.meta.get("needs", [])
        if needs:
            links = (f"[{posixpath.basename(each)}]({each}){{ download }}" for each in needs)
            facts.append(f"Put beside it: {', '.join(links)}")
        facts.append(f"To run it: `pip install {' '.join(['jupyterlab', *installed])}`")
        return [*(f"<span>{fact}</span>" for fact in facts), "{ .snippet-facts .lab-facts }"]

    def _imports(self, root: Path) -> tuple[list[str], list[str]]:
        """Return the modules that come from `snippets/`, and those that have to be installed."""
        modules = {name.partition(".")[0] for name in imported(self.code)}
        modules -= sys.stdlib_module_names
        own = {name for name in modules if (root / FOLDER / f"{name}.py").is_file()}
        return sorted(own), sorted(modules - own)

    def download(self, absolute: Callable[[str], str]) -> str:
        """Return the notebook as a reader gets it: links lead to the site, nothing is random."""
        notebook = nbformat.v4.new_notebook(
            cells=[cell for _, cell in self.cells],
            metadata={
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            },
        )
        for number, cell in enumerate(notebook.cells, start=1):
            cell.id = f"cell-{number}"
            cell.metadata = NotebookNode()
            if cell.cell_type == "markdown":
                cell.source = _LINK.sub(lambda found: absolute(found["link"]), cell.source)
        nbformat.validate(notebook)
        return str(nbformat.writes(notebook)) + "\n"


def _figure(line: int, svg: str, number: int) -> str:
    try:
        picture = inline(svg, f"plot-{number}")
    except PlotError as error:
        raise LabError(line, str(error)) from None
    return f'<figure class="plot" data-search-exclude>{picture}</figure>'


def _printed(output: NotebookNode) -> str:
    """Return what a cell printed, or what its last line is worth."""
    if output.output_type == "stream":
        return str(output.text).rstrip()
    return str(output.get("data", {}).get("text/plain", "")).rstrip()
