"""Where the repository lies on this machine and on the web."""

from __future__ import annotations

import posixpath
import subprocess
from dataclasses import dataclass
from functools import cache
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
        """Return the web address of a file or folder, as it is in the commit that is built."""
        kind = "tree" if (self.root / path).is_dir() else "blob"
        anchor = f"#L{line}" if line else ""
        return f"{self.repo_url.rstrip('/')}/{kind}/{commit(self.root)}/{path}{anchor}"

    def published(self, path: str) -> str:
        """Return the link from the page being built to a published snippet."""
        return posixpath.relpath(f"{FOLDER}/{path}", posixpath.dirname(page.current.path) or ".")


@cache
def commit(root: Path) -> str:
    """Return the commit that is checked out in a folder, or the branch where there is no Git."""
    if not (root / ".git").exists():
        return "main"
    return git(root, "rev-parse", "HEAD").strip() or "main"


def git(root: Path, *arguments: str) -> str:
    """Return what Git says of a folder; nothing where there is no Git, or no repository of it."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
