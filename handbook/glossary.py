"""One glossary for the whole site: the first mention of a term in a section links to its entry.

The link carries the definition as its title, which Material shows as a tooltip on hover and focus.
A link, and not an `<abbr>`, because the keyboard reaches it and a tap on a phone leads somewhere.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.extensions.toc import slugify
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

from handbook import page
from handbook.brokers import BROKERS

SOURCE = "terms.md"
_ENTRY = re.compile(
    r"^### (?P<name>[^\n]+)\n+(?:\*Also: (?P<also>[^*\n]+)\*\n+)?(?P<text>(?:[^#\s][^\n]*\n)+)"
    r"(?:\n+(?P<brokers>\*[^*\n]+:\* [^\n]+)\n)?",
    re.M,
)
_BROKER_NAME = re.compile(r"\*(?P<broker>[^*]+):\* (?P<name>.+?)(?= · \*|$)")
OTHER_NAMES = {
    "event loop",
    "every log",
    "log line",
    "pull request",
    "redis pub/sub",
    "server's log",
    "the log said",
    "worker's log",
}
#: Terms that stand in nearly every section. A page marks each of them once, not in each section.
COMMON = {
    "client",
    "component",
    "consumer",
    "delivery",
    "event",
    "log",
    "message",
    "message broker",
    "producer",
    "queue",
    "task",
    "topic",
    "worker",
}
_UNTOUCHED = {"a", "code", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "summary", "label", "svg"}


class GlossaryError(Exception):
    """The glossary does not have what a page asks for."""


@dataclass(frozen=True)
class Term:
    """An entry of the glossary.

    `definition` is plain text. `on_brokers` are pairs of a broker and the Markdown of its own
    name for the thing; the tooltip leaves them out.
    """

    name: str
    also: tuple[str, ...]
    definition: str
    on_brokers: tuple[tuple[str, str], ...] = ()

    @property
    def anchor(self) -> str:
        """The heading's identifier on the page of terms."""
        return slugify(self.name, "-")


def terms(root: Path) -> list[Term]:
    """Return the entries of docs/terms.md."""
    file = root / "docs" / SOURCE
    text = file.read_text(encoding="utf-8") + "\n" if file.is_file() else ""
    found: list[Term] = []
    lines: dict[str, int] = {}
    for entry in _ENTRY.finditer(text):
        term = Term(
            name=_plain(entry["name"]),
            also=tuple(_plain(each) for each in (entry["also"] or "").split(",") if each.strip()),
            definition=_plain(entry["text"]),
            on_brokers=tuple(
                (each["broker"], each["name"])
                for each in _BROKER_NAME.finditer(entry["brokers"] or "")
            ),
        )
        line = text.count("\n", 0, entry.start()) + 1
        for name in (term.name, *term.also):
            before = lines.setdefault(name.lower(), line)
            if before != line:
                raise page.PageError(
                    f"docs/{SOURCE}:{line}: {name!r} has an entry already, at line {before}"
                )
        found.append(term)
    return found


def _plain(markdown: str) -> str:
    """Return the text without its Markdown."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`]", "", text).split())


def _names_brokers(element: Element) -> bool:
    """Tell whether a paragraph begins as the last line of an entry does: `*RabbitMQ:* queue`."""
    if element.tag != "p" or not len(element) or (element.text or "").strip():
        return False
    return element[0].tag == "em" and (element[0].text or "").endswith(":")


def _forms(name: str) -> Iterator[str]:
    """Yield the ways in which a sentence writes a term."""
    yield name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        yield name[:-1] + "ies"
    else:
        yield name + ("es" if re.search(r"(s|x|ch|sh)$", name) else "s")


class GlossaryExtension(Extension):
    """Register the glossary."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Run after inline Markdown (20) and before MkDocs checks the links (0)."""
        md.treeprocessors.register(GlossaryTreeprocessor(md, terms(Path.cwd())), "glossary", 8)


class GlossaryTreeprocessor(Treeprocessor):
    """Link the first mention of each term in each section of a page."""

    def __init__(self, md: Markdown, entries: list[Term]) -> None:
        super().__init__(md)
        self.by_form = {
            form.lower(): term
            for term in entries
            for name in (term.name, *term.also)
            for form in _forms(name)
        }
        # Inside another name a word is no term: Redis Streams, event loop.
        names = {broker.label.lower() for broker in BROKERS} | OTHER_NAMES
        longest_first = sorted(names | set(self.by_form), key=len, reverse=True)
        alternatives = "|".join(re.escape(form).replace(r"\ ", r"\s+") for form in longest_first)
        self.pattern = re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])", re.I)
        self.common = {term.anchor for term in entries if term.name.lower() in COMMON}
        self.seen: set[str] = set()
        self.target = SOURCE

    def run(self, root: Element) -> None:
        """Mark the terms of one page."""
        if not self.by_form:
            return
        self.target = posixpath.relpath(SOURCE, posixpath.dirname(page.current.path) or ".")
        # Where errors are explained, a log is the file that a program writes.
        self.seen = {"log"} if page.current.path.startswith("errors/") else set()
        self._visit(root)

    def _visit(self, element: Element) -> None:
        if page.current.path == SOURCE and element.tag == "h3":
            # An entry does not refer to itself, under none of its names.
            self.seen = {slugify("".join(element.itertext()), "-")}
        elif element.tag in {"h1", "h2"}:
            self.seen &= self.common
        if page.current.path == SOURCE and _names_brokers(element):
            # In these lines a word has the broker's meaning, not the glossary's.
            element.set("class", "on-brokers")
            return
        if element.tag == "em" and self._is_title(element):
            return
        if element.tag in _UNTOUCHED or "snippet-facts" in element.get("class", ""):
            return
        children = list(element)
        element.text, at_start = self._split(element.text)
        for child in children:
            self._visit(child)
            position = list(element).index(child) + 1
            child.tail, after = self._split(child.tail)
            for offset, link in enumerate(after):
                element.insert(position + offset, link)
        for offset, link in enumerate(at_start):
            element.insert(offset, link)

    def _is_title(self, element: Element) -> bool:
        """Tell whether emphasised words are a title: several, with a capital, and not a term."""
        words = " ".join("".join(element.itertext()).split())
        return words[:1].isupper() and " " in words and words.lower() not in self.by_form

    def _split(self, text: str | None) -> tuple[str | None, list[Element]]:
        """Return what comes before the first link, and the links with what follows each."""
        if not text or isinstance(text, AtomicString):
            return text, []
        links: list[Element] = []
        before, end = text, 0
        for match in self.pattern.finditer(text):
            term = self.by_form.get(" ".join(match[0].lower().split()))
            if term is None or term.anchor in self.seen:
                continue
            self.seen.add(term.anchor)
            if links:
                links[-1].tail = text[end : match.start()]
            else:
                before = text[: match.start()]
            link = Element(
                "a",
                {"class": "term", "href": f"{self.target}#{term.anchor}", "title": term.definition},
            )
            link.text = AtomicString(match[0])
            links.append(link)
            end = match.end()
        if links:
            links[-1].tail = text[end:]
        return before, links


def makeExtension(**kwargs: Any) -> GlossaryExtension:  # noqa: N802
    """Make the extension; Python-Markdown looks this name up."""
    return GlossaryExtension(**kwargs)
