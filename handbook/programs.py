"""What programs read: each page as Markdown, lists of the pages, and the glossary as data.

A hook of MkDocs, because a page's snippets, tables and claims are there when it is built. Each page
has its twin beside it, `index.md`; llms.txt lists them and llms-full.txt holds all of them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from jinja2 import Environment
from markdownify import MarkdownConverter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from selectolax.lexbor import LexborHTMLParser, LexborNode

from handbook.directives.checked import DATA
from handbook.directives.code import fence
from handbook.directives.project import git
from handbook.errors import entries, recorded, test_of
from handbook.glossary import terms

LISTS = ("llms.txt", "llms-full.txt")
#: What only a reader at a screen needs. A picture's steps stand below it as text.
_LEFT_OUT = (
    ".headerlink, .broker-switch, .choose-count, .choose-ruled, button, svg, style, nav, "
    ".footnote-backref, wbr"
)
_texts: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Publish the glossary and the errors as data, and find out when each page was changed."""
    root = Path(config.docs_dir).parent
    glossary = [
        {
            "name": term.name,
            "also": list(term.also),
            "definition": term.definition,
            "on_brokers": dict(term.on_brokers),
            "address": urljoin(str(config.site_url), f"terms/#{term.anchor}"),
        }
        for term in terms(root)
    ]
    for name, content in (("terms", glossary), ("errors", _errors(root, str(config.site_url)))):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        files.append(File.generated(config, f"data/{name}.json", content=text))
    for name in LISTS:
        files.append(File.generated(config, name, content=""))
    _texts.clear()
    config.extra["days"] = _changed(root)
    return files


def on_pre_page(page: Page, config: MkDocsConfig, **_: Any) -> Page:
    """Tell the sitemap on which day the page was changed last."""
    page.update_date = config.extra["days"].get(page.file.src_uri, page.update_date)
    return page


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Keep the page's content as Markdown."""
    _texts[page.file.src_uri] = twin(html, str(page.canonical_url))
    return html


def on_nav(nav: Navigation, config: MkDocsConfig, **_: Any) -> Navigation:
    """Remember the order of the pages."""
    config.extra["reading_order"] = nav.pages
    return nav


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """Fill the lists: all pages have their content now, and no file has been written."""
    pages: list[Page] = config.extra["reading_order"]
    index = [f"# {config.site_name}\n\n> {config.site_description}\n\n## Chapters\n"]
    section = None
    for page in pages:
        above = page.parent.title if page.parent else None
        if above and above != section:
            index.append(f"\n## {above}\n")
        elif section and not above:
            index.append("\n## At the end\n")
        section = above
        address = urljoin(str(page.canonical_url), "index.md")
        title = re.sub(r"<[^>]+>", "", str(page.title))
        index.append(f"- [{title}]({address}): {page.meta.get('description', '')}")
    index.append("\n## Data\n")
    for name, what in DATA.items():
        address = urljoin(str(config.site_url), f"data/{name}.json")
        index.append(f"- [{name}.json]({address}): {what}")
    texts = ["\n".join(index) + "\n", "\n---\n\n".join(_texts[p.file.src_uri] for p in pages)]
    for name, text in zip(LISTS, texts, strict=True):
        if file := files.get_file_from_path(name):
            file.content_string = text
    return env


def on_post_build(config: MkDocsConfig) -> None:
    """Write each page's twin."""
    for page in config.extra["reading_order"]:
        file = Path(config.site_dir, page.file.dest_uri).with_suffix(".md")
        file.write_text(_texts[page.file.src_uri], encoding="utf-8")


class _Converter(MarkdownConverter):
    """Leave signs as they are: the text is read by programs, and rendered by few."""

    def __init__(self) -> None:
        super().__init__(
            autolinks=False,
            bullets="-",
            escape_asterisks=False,
            escape_misc=False,
            escape_underscores=False,
            heading_style="atx",
        )
        self.codes: list[str] = []

    def convert_pre(self, el: Any, *_: Any, **__: Any) -> str:
        """Put code away while blank lines are counted."""
        head, *code = fence(el.get_text(), el["data-language"])
        self.codes.append("\n".join([re.sub("[{}]", "", head), *code]))
        return f"\n\n\0{len(self.codes) - 1}\0\n\n"

    def text(self, html: str) -> str:
        """Return the Markdown of a page."""
        text = re.sub(r"\n{3,}", "\n\n", self.convert(html)).strip()
        return re.sub("\0(\\d+)\0", lambda each: self.codes[int(each[1])], text)


@lru_cache(maxsize=256)
def twin(html: str, address: str) -> str:
    """Return a page's content as Markdown: links lead to the site, code is whole."""
    tree = LexborHTMLParser(f"<body>{html}</body>")
    for node in tree.css(_LEFT_OUT):
        node.decompose()
    for block in tree.css("div.highlight"):
        code, name = block.css_first("pre"), block.css_first(".filename")
        title = name.text() if name else ""
        python = "lab" in (block.attributes["class"] or "").split() or ".py" in title
        head = f"<p><em>{escape(title)}</em></p>" if title else ""
        text = escape(code.text()) if code else ""
        language = "python" if python else ""
        _replace(block, f'<div>{head}<pre data-language="{language}">{text}</pre></div>')
    for tabs in tree.css(".tabbed-set"):
        labels = [each.text() for each in tabs.css(".tabbed-labels > label")]
        blocks = [each.inner_html or "" for each in tabs.css(".tabbed-content > .tabbed-block")]
        said = "".join(
            f"<p><strong>{escape(label)}</strong></p>{block}"
            for label, block in zip(labels, blocks, strict=True)
        )
        _replace(tabs, f"<div>{said}</div>")
    for link in tree.css("a[href]"):
        link.attrs["href"] = urljoin(address, link.attributes["href"] or "")
    for link in tree.css("a[title]"):
        del link.attrs["title"]  # a definition, which the glossary has
    return f"Source: {address}\n\n{_Converter().text(tree.html or '')}\n"


def _replace(node: LexborNode, html: str) -> None:
    fresh = LexborHTMLParser(html).css_first("div")
    if fresh is not None:
        node.replace_with(fresh)


def _errors(root: Path, site: str) -> list[dict[str, Any]]:
    """Return each error that a page explains, in the order of the pages."""
    texts = recorded(root)
    return [
        {
            "key": entry.key,
            "heading": entry.heading,
            "address": urljoin(site, f"{entry.page.removesuffix('.md')}/#{entry.anchor}"),
            "test": "#".join(test_of(entry.key)),
            "said": [dataclasses.asdict(each) for each in texts[entry.key]],
        }
        for entry in entries(root)
        if entry.key in texts
    ]


def _changed(root: Path) -> dict[str, str]:
    """Return the day of the last commit of each file in docs/, where git knows several commits."""
    commits = git(root, "log", "--format=%x00%cs", "--name-only", "--", "docs").split("\0")[1:]
    if len(commits) < 2:
        return {}
    days: dict[str, str] = {}
    for commit in commits:
        day, *names = commit.split("\n")
        for name in filter(None, names):
            days.setdefault(name.removeprefix("docs/"), day)
    return days
