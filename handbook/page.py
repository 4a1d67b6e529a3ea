"""The page that is being built, so that an error can name its file and line."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from markdown import Markdown
from mkdocs.exceptions import BuildError


class PageError(BuildError):
    """Something on a page is wrong. MkDocs prints it without a traceback and stops."""


@dataclass(frozen=True)
class Page:
    """`path` is relative to docs/; `lines_before` counts the lines of its front matter.

    `lines` is for a page whose Markdown was made of another file: the line of that file for each
    of its own, and `made` the HTML in it that no author wrote.
    """

    path: str
    lines_before: int = 0
    lines: tuple[int, ...] = ()
    made: frozenset[str] = frozenset()

    def link_to(self, file: str) -> str:
        """Return the link from this page to another below docs/, which may have an anchor."""
        name, mark, anchor = file.partition("#")
        here, there = (
            each.removesuffix(".md").removesuffix("index").rstrip("/") or "."
            for each in (self.path, name)
        )
        return f"{posixpath.relpath(there, here)}/{mark}{anchor}"

    def error(self, index: int, message: str) -> PageError:
        """Return an error for the line at `index` (from 0) of the page's Markdown."""
        line = self.lines[index] if index < len(self.lines) else self.lines_before + index + 1
        return PageError(f"docs/{self.path}:{line}: {message}")


# Python-Markdown hands an extension the text of a page and not its name; a hook sets this one.
current = Page("(unknown page)")


def begin(path: str, source: str, markdown: str) -> None:
    """Note that the page at `path` comes next. `markdown` is `source` without front matter."""
    global current
    start = source.rfind(markdown.strip("\n")) if markdown.strip() else 0
    before = source[:start].count("\n") if start > 0 else 0
    leading = len(markdown) - len(markdown.lstrip("\n"))
    current = Page(path, before - leading)


def begin_made(path: str, lines: tuple[int, ...], made: frozenset[str] = frozenset()) -> None:
    """Note that a page comes next whose Markdown was made of the file at `path`."""
    global current
    current = Page(path, lines=lines, made=made)


def begin_in_zensical(md: Markdown) -> None:
    """Note which page comes next where Zensical builds: it runs no hooks, and says it itself."""
    global current
    if "rendering_context" in md.preprocessors:
        context: Any = md.preprocessors["rendering_context"]
        current = Page(context.page.path)
