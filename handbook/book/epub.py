"""The EPUB: a zip with a page of XHTML for each page of the site, a list of contents, and a style.

Version 3.3 of https://www.w3.org/TR/epub-33/. Nothing in it is fetched from elsewhere.
"""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path

from handbook.book.chapters import Chapter, link_inside, xml

_PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="en">
<head><title>{title}</title><link rel="stylesheet" href="book.css"/></head>
<body>{body}</body>
</html>
"""
_CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles>
<rootfile full-path="book/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles>
</container>
"""
_PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">{address}</dc:identifier>
<dc:title>{title}</dc:title>
<dc:language>en</dc:language>
<dc:creator>{author}</dc:creator>
<dc:rights>Text CC BY 4.0, code MIT</dc:rights>
<meta property="dcterms:modified">{when}</meta>
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="style" href="book.css" media-type="text/css"/>
{items}
</manifest>
<spine>
<itemref idref="nav"/>
{spine}
</spine>
</package>
"""


def write(file: Path, title: str, address: str, book: list[Chapter], when: datetime) -> None:
    """Write the book into a file."""
    names = {each.path: each.name for each in book}
    style = Path(__file__).with_name("book.css").read_text(encoding="utf-8")
    items, spine = [], []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        # A reader looks for this one first, and unpacked.
        pack.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        pack.writestr("META-INF/container.xml", _CONTAINER)
        pack.writestr("book/book.css", style)
        for chapter in book:
            link_inside(chapter.article, address, names, "{name}.xhtml#{anchor}")
            text = _PAGE.format(title=escape(chapter.title), body=xml(chapter.article))
            pack.writestr(f"book/{chapter.name}.xhtml", text)
            drawn = ' properties="svg"' if "<svg" in text else ""
            items.append(
                f'<item id="{_id(chapter)}" href="{chapter.name}.xhtml" '
                f'media-type="application/xhtml+xml"{drawn}/>'
            )
            spine.append(f'<itemref idref="{_id(chapter)}"/>')
        pack.writestr("book/nav.xhtml", _PAGE.format(title="Contents", body=_contents(book)))
        package = _PACKAGE.format(
            address=escape(address),
            title=escape(title),
            author=escape(title),
            when=when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            items="\n".join(items),
            spine="\n".join(spine),
        )
        pack.writestr("book/book.opf", package)


def _id(chapter: Chapter) -> str:
    return f"page-{chapter.name}"


def _contents(book: list[Chapter]) -> str:
    parts = []
    for section, pages in groupby(book, key=lambda each: each.section):
        entries = "".join(
            f'<li><a href="{each.name}.xhtml">{escape(each.title)}</a></li>' for each in pages
        )
        parts.append(f"<li><span>{escape(section)}</span><ol>{entries}</ol></li>")
    return f'<nav epub:type="toc"><h1>Contents</h1><ol>{"".join(parts)}</ol></nav>'
