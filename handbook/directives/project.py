"""Where the repository lies on this machine and on the web."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from handbook import page
from handbook.snippet import FOLDER


@dataclass(frozen=True)
class Project:
    """The folder of the repository, and the addresses of the site and of the repository."""

    root: Path
    site_url: str
    repo_url: str

    @property
    def snippets(self) -> Path:
        """The folder of the snippets."""
        return self.root / FOLDER

    def source(self, path: str, line: int | None = None) -> str:
        """Return the web address of a file or folder of the repository."""
        kind = "tree" if (self.root / path).is_dir() else "blob"
        anchor = f"#L{line}" if line else ""
        return f"{self.repo_url.rstrip('/')}/{kind}/main/{path}{anchor}"

    def published(self, path: str) -> str:
        """Return the link from the page being built to a published snippet."""
        return posixpath.relpath(f"{FOLDER}/{path}", posixpath.dirname(page.current.path) or ".")
