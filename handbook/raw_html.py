"""What a page may hold: an author's Markdown carries no script, and leads to no odd address.

Two lists. What an author writes as HTML is compared with the short one, tag by tag. Then the page
as it leaves Markdown is compared with the long one, as a browser reads it: attribute lists, options
of code blocks, drawings and what our own directives write have all become HTML by then. What is not
listed stops the build. That the long list has no script, no handler of events and no form that
sends makes the pages safe; the short one keeps them Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.inlinepatterns import HtmlInlineProcessor
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor
from selectolax.lexbor import LexborHTMLParser, LexborNode

from handbook import page


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What an author may write as HTML, because Markdown has no word for it.
TAGS = _words("a br dd details div dl dt figcaption figure kbd mark span sub summary sup wbr")
ATTRIBUTES = _words("aria-label class data-for href id lang markdown open title")

#: What Markdown, its extensions and our directives make.
MADE = _words(
    "abbr b blockquote button caption code col colgroup del em fieldset form h1 h2 h3 h4 h5 h6 hr"
    " i img input ins label legend li nav ol optgroup option output p pre progress q s samp section"
    " select small strong svg table tbody td textarea tfoot th thead time tr ul var"
)
MADE_ATTRIBUTES = _words(
    "alt cellpadding checked colspan datetime dir disabled download for height hidden inputmode"
    " loading max method min name placeholder readonly rel role rows rowspan scope selected"
    " spellcheck src start tabindex type value width"
)
#: What may be in a drawing. No link, picture, animation or foreign content.
DRAWN = _words(
    "circle clippath defs desc ellipse fedropshadow fegaussianblur femerge femergenode feoffset"
    " filter g line lineargradient marker mask metadata path pattern polygon polyline"
    " radialgradient rect stop style svg switch symbol text textpath title tspan use"
)
#: What may stand above a page's text, and which files may lie beside it.
HEAD = _words("description keywords lab needs search title")
FILES = _words(".css .gz .ipynb .jpg .js .json .md .pdf .png .py .svg .txt .webp .woff2 .yml")
_SCHEMES = frozenset({"", "http", "https", "mailto"})
_INPUTS = frozenset({"checkbox", "number", "radio", "range", "search", "text"})
_TAG = re.compile(r"<(/?)([a-z!?][^\s/>]*)", re.I)
#: A browser leaves these out of an address, and reads a backslash as a slash.
_IGNORED = re.compile(r"[\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\ufeff]")
_SCHEME = re.compile(r"[^/?#:]*(?=:)")
#: The theme and the extensions look for ids of this form; a heading must not take one of theirs.
_OURS = re.compile(r"__(tabbed|codelineno|span|code)_?-?\d[\d_-]*\Z")
#: How a table aligns its columns, and a measure that a directive hands to the style sheet.
_STYLE = re.compile(r"(text-align: ?(left|right|center)|--[a-z-]+: ?[\d.]+(px|em|%)?);?\Z")
_FETCHES = re.compile(r"url\((?!\s*['\"]?#)|@import|image-set|expression|-moz-binding|\\", re.I)


def check_head(meta: Mapping[str, Any], source: str) -> None:
    """Refuse what stands above a page's text, if the theme would print it as HTML, or obey it."""
    for key, value in meta.items():
        index = next((n for n, line in enumerate(source.split("\n")) if line.startswith(key)), 0)
        where = f"docs/{page.current.path}:{index + 1}"
        if key not in HEAD:
            raise page.PageError(
                f"{where}: a page's head has no {key!r}: it has {', '.join(sorted(HEAD))}"
            )
        if found := re.search('[<>"]', str(value)):
            raise page.PageError(
                f"{where}: {key} must not have the sign {found[0]}: write it in words, or as “ ”"
            )


def check_file(path: str, file: Path) -> None:
    """Refuse a file of docs/ that a browser would open as a page of its own."""
    if file.suffix.lower() not in FILES:
        raise page.PageError(
            f"docs/{path}: the site publishes no {file.suffix or 'such'} files: it has "
            f"{', '.join(sorted(FILES))}"
        )
    if file.suffix.lower() == ".svg":
        page.begin(path, "", "")
        _Checks().whole(file.read_text(encoding="utf-8"))


class RawHtmlExtension(Extension):
    """Register the checks."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Look at what the extraction of HTML (20) found, at each tag in a line, and at the end."""
        checks = _Checks()
        md.preprocessors.register(_Source(md, checks), "raw_html_source", 100)
        md.preprocessors.register(_Before(md, checks), "raw_html_before", 20.5)
        md.preprocessors.register(_After(md, checks), "raw_html_after", 19.5)
        pattern = md.inlinePatterns["html"].pattern
        md.inlinePatterns.register(_Inline(pattern, md, checks), "html", 90)
        md.postprocessors.register(_Whole(md, checks), "raw_html_whole", -100)


class _Checks:
    """The page that is being read, to say on which of its lines a fault is."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stashed = 0

    def written(self, html: str) -> None:
        """Refuse HTML that an author wrote, if it is not on the short list."""
        if html.strip() in page.current.made:
            return
        comments = re.sub(r"<!--(?!-?>)(?:(?!--!?>).)*-->", "", html, flags=re.S)
        for closing, name in _TAG.findall(comments):
            if name.lower() not in TAGS:
                self._refuse_tag(f"<{closing}{name}", name, html)
        for node in _nodes(html):
            for name in node.attributes:
                if name not in ATTRIBUTES:
                    self._refuse_attribute(name, node.attributes[name], html)

    def tree(self, element: Element) -> None:
        """Refuse elements that were read from an author's HTML, in the same way."""
        for each in element.iter():
            if each.tag.lower() not in TAGS:
                self._refuse_tag(f"<{each.tag}", each.tag)
            for name, value in each.attrib.items():
                if name.lower() not in ATTRIBUTES:
                    self._refuse_attribute(name, value)

    def whole(self, html: str) -> None:
        """Refuse a page that has something which is not on the long list, or an id twice."""
        seen: set[str] = set()
        for node in _nodes(html):
            tag, drawn = (node.tag or "").lower(), _is_drawn(node)
            if tag not in (DRAWN if drawn else TAGS | MADE):
                self._refuse_tag(f"<{tag}", tag)
            for name, value in node.attributes.items():
                self._attribute(tag, name.lower(), value or "", drawn=drawn)
            if tag == "style" and _FETCHES.search(node.text()):
                self._refuse(("url(", "@import"), "a style that fetches something: take it out")
            if (key := node.attributes.get("id")) is not None:
                if key in seen:
                    self._refuse(
                        (f"#{key}", f'id="{key}"', key or "id="),
                        f"the id {key!r} stands twice on this page: name one of them differently",
                    )
                seen.add(key)

    def _attribute(self, tag: str, name: str, value: str, *, drawn: bool) -> None:
        if name in {"href", "src", "xlink:href", "action", "formaction"}:
            self._address(tag, name, value, drawn=drawn)
        if name == "style":
            if _FETCHES.search(value) or not (drawn or _STYLE.match(value)):
                self._refuse_attribute(name, value)
        elif name == "id" and value.startswith("__") and not _OURS.match(value):
            self._refuse((value,), f"the id {value!r} is one for the theme: begin it with a letter")
        elif drawn:
            if name.startswith("on") or _FETCHES.search(value):
                self._refuse_attribute(name, value)
        elif not (name in ATTRIBUTES | MADE_ATTRIBUTES or name.startswith(("data-", "aria-"))) or (
            (name == "type" and tag == "input" and value.lower() not in _INPUTS)
            or (name == "type" and tag == "button" and value.lower() not in {"button", "reset"})
            or (name == "method" and value.lower() != "dialog")
        ):
            self._refuse_attribute(name, value)

    def _address(self, tag: str, name: str, value: str, *, drawn: bool) -> None:
        address = _IGNORED.sub("", value).replace("\\", "/")
        found = _SCHEME.match(address)
        scheme = found[0].lower() if found else ""
        if scheme not in _SCHEMES:
            self._refuse(
                (value, f"{scheme}:"),
                f"an address must not begin with {scheme!r}: write https:, mailto:, or the path of "
                "a page",
            )
        elsewhere = bool(scheme) or address.startswith("//")
        if address.startswith("//"):
            self._refuse((value, "//"), f"{value!r} names no scheme: write https: before it")
        if name not in {"href", "xlink:href"} and elsewhere:
            self._refuse(
                (value,), f"<{tag}> fetches from another site: put the file into docs/assets/"
            )
        if drawn and not address.startswith("#"):
            self._refuse((value, name), "a drawing must not lead anywhere: link from the text")

    def _refuse_tag(self, begins: str, name: str, html: str = "") -> None:
        self._refuse(
            (html.split("\n")[0], begins),
            f"<{name}> is no HTML that a page may hold: write Markdown, or one of "
            f"{', '.join(sorted(TAGS))}",
        )

    def _refuse_attribute(self, name: str, value: str | None, html: str = "") -> None:
        self._refuse(
            (html.split("\n")[0], f"{name}={value}", f'{name}="{value}"', f"{name}=", name),
            f"the attribute {name} must not stand on a page: take it out (allowed are "
            f"{', '.join(sorted(ATTRIBUTES))})",
        )

    def _refuse(self, traces: tuple[str, ...], message: str) -> None:
        """Raise an error for the first line that has one of these, the surest first."""
        plain = [_IGNORED.sub("", unescape(line)).lower() for line in self.lines]
        for trace in filter(None, traces):
            sought = _IGNORED.sub("", trace).lower()
            for index, line in enumerate(plain):
                if sought in line:
                    raise page.current.error(index, message)
        raise page.PageError(f"docs/{page.current.path}: {message}")


class _Source(Preprocessor):
    """Keep the lines as their author wrote them."""

    def __init__(self, md: Markdown, checks: _Checks) -> None:
        super().__init__(md)
        self.checks = checks

    def run(self, lines: list[str]) -> list[str]:
        self.checks.lines = list(lines)
        return lines


class _Before(_Source):
    """Note what is put away already: code, and what directives wrote."""

    def run(self, lines: list[str]) -> list[str]:
        self.checks.stashed = len(self.md.htmlStash.rawHtmlBlocks)
        return lines


class _After(_Source):
    """Look at what was put away since: the author's blocks of HTML."""

    def run(self, lines: list[str]) -> list[str]:
        for block in self.md.htmlStash.rawHtmlBlocks[self.checks.stashed :]:
            if isinstance(block, str):
                self.checks.written(block)
            else:
                self.checks.tree(block)
        return lines


class _Inline(HtmlInlineProcessor):
    """Look at each tag of an author inside a line."""

    def __init__(self, pattern: str, md: Markdown, checks: _Checks) -> None:
        super().__init__(pattern, md)
        self.checks = checks

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element | str | None, int | None, int | None]:
        found = super().handleMatch(m, data)
        self.checks.written(str(self.md.htmlStash.rawHtmlBlocks[-1]))
        return found


class _Whole(Postprocessor):
    """Look at the page when all else is done."""

    def __init__(self, md: Markdown, checks: _Checks) -> None:
        super().__init__(md)
        self.checks = checks

    def run(self, text: str) -> str:
        self.checks.whole(text)
        return text


def _nodes(html: str) -> Iterator[LexborNode]:
    """Yield the elements as a browser reads them, without comments.

    It gives a page a body, to which it moves the attributes of a second one.
    """
    root = LexborHTMLParser(f"<!doctype html><html><head></head><body>{html}").root
    for node in root.traverse() if root else ():
        given = node.tag in {"html", "head", "body"} and not node.attributes
        if not given and not (node.tag or "-").startswith("-"):
            yield node


def _is_drawn(node: LexborNode) -> bool:
    around: LexborNode | None = node
    while around is not None and around.tag != "svg":
        around = around.parent
    return around is not None


def makeExtension(**kwargs: Any) -> RawHtmlExtension:  # noqa: N802
    """Make the extension; Python-Markdown looks this name up."""
    return RawHtmlExtension(**kwargs)
