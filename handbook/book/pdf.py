"""The PDF: all pages in one, which Chromium prints with the site's own style sheet."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from handbook.book.chapters import BookError, Chapter, link_inside

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Hundreds of sheets, on a machine that may be busy; in seconds.
LIMIT = 1800
_STYLE = """
@page { size: A4; margin: 16mm 14mm; }
.book-chapter { break-before: page; }
.book-contents ol { columns: 2; }
.md-typeset .tab-name { margin: 1.2rem 0 .4rem; font-size: .9rem; break-after: avoid; }
"""


def write(file: Path, title: str, address: str, book: list[Chapter], when: datetime) -> None:
    """Write the book into a file."""
    site = file.parent
    sheet = next(site.glob("assets/css/handbook.*.css"), None)
    if sheet is None:
        raise BookError(f"{site} has no style sheet: build the site anew")
    names = {each.path: each.name for each in book}
    for chapter in book:
        for node in chapter.article.css("[id]"):
            if not _drawn(node):
                node.attrs["id"] = f"{chapter.name}--{node.attributes['id']}"
        link_inside(chapter.article, address, names, "#{name}--{anchor}")
    text = "".join(
        f'<article class="md-content__inner md-typeset book-chapter" id="{each.name}--">'
        f"{each.article.inner_html}</article>"
        for each in book
    )
    with TemporaryDirectory() as folder:
        page = site / "book.html"
        page.write_text(
            f'<!doctype html><html lang="en" class="js" data-broker=""><head><meta charset="utf-8">'
            f"<title>{escape(title)}</title>"
            f'<link rel="stylesheet" href="{sheet.relative_to(site)}"><style>{_STYLE}</style>'
            f'</head><body dir="ltr" data-md-color-scheme="default" data-md-color-primary="custom">'
            f"{_head(title, address, book, when)}{text}</body></html>",
            encoding="utf-8",
        )
        command = [
            *chromium(Path(folder)),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={file.resolve()}",
            page.resolve().as_uri(),
        ]
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise BookError(
                f"Chromium printed for {LIMIT} s without an end: the machine is busy, try again"
            ) from None
        finally:
            page.unlink()
    if ran.returncode or not file.is_file():
        raise BookError(f"Chromium could not print the book:\n{ran.stderr[-2000:]}")


def chromium(folder: Path) -> list[str]:
    """Return the command that starts a Chromium: one that is named, installed or tested with."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return [found]
    try:
        from tests.site.chromium import executable

        return [executable(folder)]
    except (ImportError, FileNotFoundError):
        raise BookError(
            "the PDF needs Chromium: install Debian's package `chromium` or Google Chrome, run "
            "`make servers`, or name the program in the environment variable CHROMIUM"
        ) from None


def _drawn(node: object) -> bool:
    parent = getattr(node, "parent", None)
    tag = getattr(node, "tag", None)
    return tag == "svg" or (parent is not None and _drawn(parent))


def _head(title: str, address: str, book: list[Chapter], when: datetime) -> str:
    parts = []
    for section, pages in groupby(book, key=lambda each: each.section):
        entries = "".join(
            f'<li><a href="#{each.name}--">{escape(each.title)}</a></li>' for each in pages
        )
        parts.append(f"<h3>{escape(section)}</h3><ol>{entries}</ol>")
    return (
        f'<article class="md-content__inner md-typeset book-contents"><h1>{escape(title)}</h1>'
        f'<p><a href="{escape(address)}">{escape(address)}</a>, as of {when:%Y-%m-%d}. '
        f"Text CC BY 4.0, code MIT.</p><h2>Contents</h2>{''.join(parts)}</article>"
    )
