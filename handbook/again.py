"""While the site is served, a page that nothing has changed is not made again after an edit.

A hook of MkDocs, because only MkDocs knows that it serves. Of a page, what its Markdown became is
kept: it depends on its own text and on files that pages share. Once one of those has changed, all
pages are made again; so they are by every build that serves nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import TableOfContents

#: What many pages are made of. The rest of docs/ is one page a file.
SHARED = ("docs/terms.md", "mkdocs.yml", "compose.yaml")
SHARED_BELOW = (
    "docs/data",
    "docs/labs",
    "docs/types/choose.yml",
    "docs/atlas/documented.yml",
    "handbook",
    "snippets",
    "tests",
)
#: It lists the headings of the pages beside it.
ALWAYS = {"errors/index.md"}
_TITLE = re.compile(r"^# .*", re.M)
_serving = False
_shared: object = None
_kept: dict[str, Made] = {}


@dataclass(frozen=True)
class Made:
    """What a page's Markdown became; `links` are those to anchors, by the file they lead to."""

    markdown: str
    content: str
    toc: TableOfContents
    title: str | None
    anchors: set[str]
    links: dict[str, dict[str, str]]


def on_startup(command: str, **_: Any) -> None:
    """Remember whether the site is served."""
    global _serving
    _serving = command == "serve"


@event_priority(-100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Forget all pages when a file has changed that they share, or the list of pages."""
    global _shared
    if _serving:
        shared = shared_files(Path(config.docs_dir).parent)
        pages = files.documentation_pages()
        shared["pages"] = sorted(
            (page.url, *_TITLE.findall(page.content_string)[:1]) for page in pages
        )
        if shared != _shared:
            _kept.clear()
        _shared = shared
    return files


@event_priority(-100)
def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Come when nothing changes the text any more, and say how it is rendered: for this page."""
    if _serving and page.file.src_uri not in ALWAYS:
        made = _kept.get(page.file.src_uri)
        same = made if made and made.markdown == markdown else None
        render = partial(_take, page, same) if same else partial(_keep, page)
        page.render = render  # type: ignore[method-assign]
    return markdown


def shared_files(root: Path) -> dict[str, Any]:
    """Return when each file was changed that several pages are made of."""
    files = [root / name for name in SHARED]
    for name in SHARED_BELOW:
        files += [root / name, *(root / name).rglob("*.*")]
    return {str(file): file.stat().st_mtime_ns for file in files if file.is_file()}


def _keep(page: Page, config: MkDocsConfig, files: Files) -> None:
    """Render a page as MkDocs does, and keep what came."""
    Page.render(page, config, files)
    links = page.links_to_anchors or {}
    _kept[page.file.src_uri] = Made(
        str(page.markdown),
        str(page.content),
        page.toc,
        page._title_from_render,
        set(page.present_anchor_ids or ()),
        {file.src_uri: names for file, names in links.items()},
    )


def _take(page: Page, made: Made, _: MkDocsConfig, files: Files) -> None:
    """Take what was kept. Links are checked as ever: the page they lead to may be another."""
    page.content, page.toc = made.content, made.toc
    page._title_from_render = made.title
    page.present_anchor_ids = made.anchors
    found = {files.get_file_from_path(name): names for name, names in made.links.items()}
    page.links_to_anchors = {file: names for file, names in found.items() if file}
