"""MkDocs names the page of a broken link; readers of the log also need the line."""

from __future__ import annotations

import logging
import re
from pathlib import Path

_WARNING = re.compile(r"Doc file '(?P<page>[^']+)' contains an? (?:[\w ]*?)link '(?P<link>[^']+)'")


class NameTheLine(logging.Filter):
    """Put `docs/<page>:<line>:` before each warning about a link."""

    def __init__(self, docs: Path) -> None:
        super().__init__()
        self.docs = docs

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message; never drop it."""
        message = record.getMessage()
        if found := _WARNING.match(message):
            lines = (self.docs / found["page"]).read_text(encoding="utf-8").splitlines()
            numbers = [
                str(number) for number, line in enumerate(lines, start=1) if found["link"] in line
            ]
            where = ",".join(numbers) or "?"
            record.msg, record.args = f"docs/{found['page']}:{where}: {message}", None
        return True
