"""The feed of changes: what was last said of the pages in the repository's history, as Atom.

A hook of MkDocs, because only MkDocs knows which pages there are, and what they are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from handbook.directives.project import git

NAME = "changes.xml"
ATOM = "http://www.w3.org/2005/Atom"
#: So many changes are in the feed, the newest first.
LAST = 40


@dataclass(frozen=True)
class Change:
    """A commit: when it was made, what it says, and the files of docs/ that it touches."""

    commit: str
    when: str
    says: str
    files: tuple[str, ...]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Publish the feed."""
    files.append(File.generated(config, NAME, content=""))
    return files


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """Write it: the pages have their titles now."""
    pages = {
        file.src_uri: file.page
        for file in files.documentation_pages()
        if isinstance(file.page, Page)
    }
    if file := files.get_file_from_path(NAME):
        found = changes(Path(config.docs_dir).parent)
        file.content_string = atom(found, pages, config.site_name, str(config.site_url))
    return env


def changes(root: Path) -> list[Change]:
    """Return the last commits; none where there is no history, or only its last commit."""
    form = "%x00%H%x01%cI%x01%s%x01"
    log = git(root, "log", f"--max-count={4 * LAST}", f"--format={form}", "--name-only", "docs")
    found = []
    for entry in log.split("\0")[1:]:
        commit, when, says, names = entry.split("\1")
        files = tuple(name.removeprefix("docs/") for name in names.split("\n") if name)
        found.append(Change(commit, when, says, files))
    return found if len(found) > 1 else []


def atom(found: list[Change], pages: dict[str, Page], name: str, address: str) -> str:
    """Return the feed: an entry for each change of a page, with links to the pages."""
    told = [(change, [pages[each] for each in change.files if each in pages]) for change in found]
    told = [(change, touched) for change, touched in told if touched][:LAST]
    feed = Element("feed", xmlns=ATOM)
    _add(feed, "title", f"{name}: changes")
    _add(feed, "id", address)
    _add(feed, "updated", told[0][0].when if told else "1970-01-01T00:00:00Z")
    SubElement(SubElement(feed, "author"), "name").text = name
    SubElement(feed, "link", rel="self", href=urljoin(address, NAME))
    SubElement(feed, "link", rel="alternate", href=address)
    for change, touched in told:
        entry = SubElement(feed, "entry")
        _add(entry, "title", change.says)
        _add(entry, "id", f"{address}#{change.commit}")
        _add(entry, "updated", change.when)
        SubElement(entry, "link", rel="alternate", href=str(touched[0].canonical_url))
        links = Element("ul")
        for page in touched:
            link = SubElement(SubElement(links, "li"), "a", href=str(page.canonical_url))
            link.text = str(page.title)
        SubElement(entry, "content", type="html").text = tostring(links, encoding="unicode")
    indent(feed)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(feed, encoding="unicode") + "\n"


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
