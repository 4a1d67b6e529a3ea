"""Write the PDF and the EPUB of a built site: `python -m handbook.book site/the-name-of-both`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from handbook.book import epub, pdf
from handbook.book.chapters import BookError, chapters
from handbook.directives.project import git

TITLE = "Message Brokers: the architect's handbook"


def main(book: Path) -> None:
    """Write both into the folder of the site, and say how large they are."""
    said = git(Path.cwd(), "log", "-1", "--format=%cI").strip()
    when = datetime.fromisoformat(said) if said else datetime.now(UTC)
    for kind, write in ((".epub", epub.write), (".pdf", pdf.write)):
        # Each changes the pages that it is given.
        address, pages = chapters(book.parent)
        file = book.with_suffix(kind)
        write(file, TITLE, address, pages, when)
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BookError as error:
        sys.exit(f"No book: {error}")
