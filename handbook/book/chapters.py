"""The pages of the built site in the order of reading, each without what only a screen needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

#: What a reader clicks on, and what scripts show.
_LEFT_OUT = (
    ".md-content__button, .headerlink, .footnote-backref, .broker-switch, .on-paper, "
    ".on-this-page, button, input, select, script, nav, [hidden]"
)
_SECTION = re.compile(r"^## (?P<section>.+)$|^- \[(?P<title>.+?)\]\((?P<twin>\S+)\): ")
_VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}

#: Paper has nothing to fill in or to send: what held a question is text.
_TEXT = {"fieldset": "div", "form": "div", "label": "p", "legend": "p"}
_OF_FORMS = {"for", "method"}


class BookError(Exception):
    """The book can't be made. The message says what to do."""


@dataclass(frozen=True)
class Chapter:
    """A page of the book: `path` is its address below the site's, `section` the part it is in."""

    path: str
    title: str
    section: str
    article: LexborNode

    @property
    def name(self) -> str:
        """What the page is called inside the book."""
        return re.sub(r"\W+", "-", self.path).strip("-") or "index"


def chapters(site: Path) -> tuple[str, list[Chapter]]:
    """Return the site's address and its pages, as its list for programs has them."""
    listed = site / "llms.txt"
    if not listed.is_file():
        raise BookError(f"there is no site in {site}: run `make book`, which builds it first")
    lines = listed.read_text(encoding="utf-8").splitlines()
    found: list[Chapter] = []
    section = address = ""
    for line in lines:
        if not (entry := _SECTION.match(line)):
            continue
        section = entry["section"] or section
        if entry["twin"] and entry["twin"].endswith("index.md"):
            page = entry["twin"].removesuffix("index.md")
            address = address or page
            path = page.removeprefix(address)
            article = _article(site / path / "index.html", page)
            found.append(Chapter(path, entry["title"], section, article))
    return address, found


def _article(file: Path, address: str) -> LexborNode:
    """Return the page's text; its tabs stand one below the other, and its links are whole."""
    tree = LexborHTMLParser(file.read_text(encoding="utf-8"))
    article = tree.css_first("article")
    if article is None:
        raise BookError(f"{file} has no <article>: build the site anew")
    for tabs in article.css(".tabbed-set"):
        labels = [each.text() for each in tabs.css(".tabbed-labels > label")]
        blocks = tabs.css(".tabbed-content > .tabbed-block")
        said = "".join(
            f'<p class="tab-name"><strong>{escape(label)}</strong></p>{block.inner_html}'
            for label, block in zip(labels, blocks, strict=True)
        )
        made = LexborHTMLParser(f"<div>{said}</div>").css_first("div")
        if made is not None:
            tabs.replace_with(made)
    for node in article.css(_LEFT_OUT):
        node.decompose()
    for folded in article.css("details"):
        folded.attrs["open"] = ""
    for link in article.css("a[href]"):
        link.attrs["href"] = urljoin(address, link.attributes["href"] or "")
    return article


def link_inside(article: LexborNode, address: str, names: dict[str, str], form: str) -> None:
    """Lead links to pages of the book to its own pages. `form` has a {name} and an {anchor}."""
    for link in article.css("a[href]"):
        href = link.attributes["href"] or ""
        if not href.startswith(address):
            continue
        parts = urlsplit(href.removeprefix(address))
        if parts.path in names:
            anchor = parts.fragment
            link.attrs["href"] = form.format(name=names[parts.path], anchor=anchor).rstrip("#")


def xml(node: LexborNode) -> str:
    """Return an element as XML, which is what EPUB asks for."""
    if node.tag == "-text":
        return escape(node.text(deep=False), quote=False)
    if (node.tag or "-").startswith(("-", "!", "_")):
        return ""
    attributes = "".join(
        f' {name}="{escape(value or "")}"'
        for name, value in node.attributes.items()
        if re.fullmatch(r"[A-Za-z_][\w.:-]*", name) and not name.startswith("xmlns")
        if name not in _OF_FORMS
    )
    tag = _TEXT.get(str(node.tag), node.tag)
    if node.tag == "svg":
        attributes += (
            ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        )
    if tag in _VOID:
        return f"<{tag}{attributes}/>"
    inside = "".join(xml(each) for each in node.iter(include_text=True))
    return f"<{tag}{attributes}>{inside}</{tag}>"
