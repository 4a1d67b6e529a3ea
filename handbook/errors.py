"""The texts of errors that tests provoked, from docs/data/errors/, and their entries on pages.

A broker has a file of texts and a page of entries. A key such as `redis/crossslot` is the broker's
and the name of the test, `test_crossslot` of tests/errors/test_redis.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify

from handbook.brokers import BY_KEY
from handbook.evidence import EvidenceError, test_line

FOLDER = "docs/data/errors"
CHAPTER = "errors"
PAGES = f"docs/{CHAPTER}"
#: Whose text it is, where it is not that of a client or a program.
LOG = "log"
_ENTRY = re.compile(r"^::: error (?P<key>\S+)\s*$|^## (?P<heading>.+?)(?: *\{ *#(?P<id>\S+) *\})?$")


@dataclass(frozen=True)
class Said:
    """One text and whose it is; `seen` has, by generation of servers, the versions it came from."""

    text: str
    client: str
    seen: dict[str, dict[str, str]]

    @property
    def where(self) -> str:
        """Return the client and the server that said it, each with its versions."""
        of_client = _versions([each["client"] for each in self.seen.values() if "client" in each])
        of_server = _versions([each["server"] for each in self.seen.values() if "server" in each])
        if self.client == LOG:
            return f"The log of {of_server}"
        return f"{of_client} on {of_server}" if of_server else of_client


@dataclass(frozen=True)
class Entry:
    """The place of an error on a page: the page is below docs/, and the heading is Markdown."""

    key: str
    page: str
    heading: str
    anchor: str

    @property
    def label(self) -> str:
        """The name of the broker, or of what else the page is about."""
        name = Path(self.page).stem
        return BY_KEY[name].label if name in BY_KEY else name.capitalize()


def test_of(key: str) -> tuple[str, str]:
    """Return the file and the name of the test that provokes an error."""
    broker, _, name = key.partition("/")
    return f"tests/errors/test_{broker}.py", f"test_{name.replace('-', '_')}"


def recorded(root: Path) -> dict[str, list[Said]]:
    """Return what was said, by key."""
    found: dict[str, list[Said]] = {}
    for file in sorted((root / FOLDER).glob("*.json")):
        try:
            content: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf-8"))
            found |= {
                f"{file.stem}/{name}": [Said(**each) for each in said]
                for name, said in content.items()
            }
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise EvidenceError(
                f"{FOLDER}/{file.name} does not have the expected form ({error!r}): run "
                f"tests/errors/test_{file.stem}.py with --update"
            ) from None
    return found


def said(root: Path, key: str) -> tuple[list[Said], int]:
    """Return the texts of an error and the line of its test."""
    texts = recorded(root)
    path, name = test_of(key)
    if key not in texts:
        broker = key.partition("/")[0]
        known = ", ".join(each for each in texts if each.startswith(f"{broker}/")) or "none"
        raise EvidenceError(
            f"no text is recorded for the error {key!r}: write {name} in {path}, and run it with "
            f"--update; recorded are: {known}"
        )
    return texts[key], test_line(root, path, name)


def entries(root: Path) -> Iterator[Entry]:
    """Yield each error of each page, in the order of the pages of brokers."""
    order = [*BY_KEY, "python"]
    files = [root / PAGES / f"{name}.md" for name in order]
    for file in filter(Path.is_file, files):
        heading = anchor = ""
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not (found := _ENTRY.match(line)):
                continue
            if found["heading"]:
                heading = found["heading"]
                anchor = found["id"] or slugify(re.sub(r"[`*]", "", heading), "-")
            elif heading:
                page = file.relative_to(root / "docs").as_posix()
                yield Entry(found["key"], page, heading, anchor)
            else:
                raise EvidenceError(f"{PAGES}/{file.name}:{number}: no `##` heading stands above")


def _versions(names: list[str]) -> str:
    """Return a name with all its versions: `Redis 8.0.6 and 8.0.2`."""
    first, *others = dict.fromkeys(names) or [""]
    return " and ".join([first, *(each.rpartition(" ")[2] for each in others)])
