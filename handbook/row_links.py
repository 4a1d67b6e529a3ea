"""Names for the rows of tables, so that each can be linked: `#row-consumer-timeout`.

The name comes from the row's first cell. A script offers the link, and one for each cell of such a
row: the row's name and the head of the column, `#row-consumer-timeout/kafka`.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.extensions.toc import slugify, unique
from markdown.treeprocessors import Treeprocessor

#: Words enough to tell rows apart.
LONGEST = 60


class RowLinksExtension(Extension):
    """Register the naming."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Run after headings have got their names (5), which rows must not take."""
        md.treeprocessors.register(RowLinks(md), "row_links", 4)


class RowLinks(Treeprocessor):
    """Name each row of a table's body that has none."""

    def run(self, root: Element) -> None:
        """Take the first cell's text; a second row of that text gets a number."""
        taken = {each.get("id", "") for each in root.iter()}
        for body in root.iter("tbody"):
            for row in body:
                name = slugify("".join(row[0].itertext()), "-")[:LONGEST].strip("-")
                if name and not row.get("id"):
                    row.set("id", unique(f"row-{name}", taken))


def makeExtension(**options: Any) -> RowLinksExtension:  # noqa: N802
    """Return the extension, as Python-Markdown asks for it."""
    return RowLinksExtension(**options)
